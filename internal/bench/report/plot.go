package report

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Colours that people with any colour vision tell apart (Okabe and Ito, 2008).
var colours = []color.Color{
	color.RGBA{0x00, 0x72, 0xB2, 0xFF}, color.RGBA{0xD5, 0x5E, 0x00, 0xFF}, color.RGBA{0x00, 0x9E, 0x73, 0xFF},
	color.RGBA{0xCC, 0x79, 0xA7, 0xFF}, color.RGBA{0xE6, 0x9F, 0x00, 0xFF}, color.RGBA{0x56, 0xB4, 0xE9, 0xFF},
	color.RGBA{0x00, 0x00, 0x00, 0xFF},
}

// Save draws the plot as an SVG.
func (p Plot) Save(file string) error {
	g := plot.New()
	g.Title.Text, g.X.Label.Text, g.Y.Label.Text = p.Title, p.X, p.Y
	g.BackgroundColor = color.White
	g.X.Scale, g.Y.Scale = plot.LogScale{}, plot.LogScale{}
	g.X.Tick.Marker, g.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	g.Add(plotter.NewGrid())
	g.Legend.Top, g.Legend.Left = true, true
	highest := 0.0
	for i, c := range p.Curves {
		var points plotter.XYs
		for j := range c.X {
			if c.X[j] > 0 && c.Y[j] > 0 {
				points = append(points, plotter.XY{X: c.X[j], Y: c.Y[j]})
				highest = math.Max(highest, c.Y[j])
			}
		}
		if len(points) == 0 {
			continue
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, marks.Color, marks.Shape = colours[i%len(colours)], colours[i%len(colours)], draw.CircleGlyph{}
		line.Width = vg.Points(1.5)
		g.Add(line, marks)
		g.Legend.Add(c.Name, line, marks)
	}
	g.Y.Max = highest * math.Pow(10, float64(len(p.Curves))/4) // room for the legend
	return g.Save(18*vg.Centimeter, 12*vg.Centimeter, file)
}
