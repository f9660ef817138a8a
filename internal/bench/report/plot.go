package report

import (
	"fmt"
	"image/color"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colors that people with any color vision tell apart (Okabe and Ito, 2008).
var colors = []color.Color{
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
		line.Color, marks.Color, marks.Shape = colors[i%len(colors)], colors[i%len(colors)], draw.CircleGlyph{}
		line.Width = vg.Points(1.5)
		g.Add(line, marks)
		g.Legend.Add(c.Name, line, marks)
	}
	g.Y.Max = highest * math.Pow(10, float64(len(p.Curves))/4) // room for the legend
	return g.Save(18*vg.Centimeter, 12*vg.Centimeter, file)
}

// Save draws the chart as an SVG.
func (c Chart) Save(file string) error {
	const width, height = 11 * vg.Centimeter, 9 * vg.Centimeter
	canvas := vgsvg.New(width*vg.Length(len(c.Panels)), height)
	row := make([]*plot.Plot, len(c.Panels))
	for i, p := range c.Panels {
		g := plot.New()
		g.Title.Text, g.BackgroundColor = p.Title, color.White
		highest := 0.0
		var labels plotter.XYLabels
		for j, v := range p.Values {
			highest = max(highest, v)
			bar, err := plotter.NewBarChart(plotter.Values{v}, vg.Points(34))
			if err != nil {
				return err
			}
			bar.XMin, bar.LineStyle.Width, bar.Color = float64(j), 0, color.RGBA{0x9A, 0xA5, 0xB1, 0xFF}
			if j == 0 {
				bar.Color = colors[0]
			}
			g.Add(bar)
			labels.XYs = append(labels.XYs, plotter.XY{X: float64(j), Y: v})
			labels.Labels = append(labels.Labels, fmt.Sprintf("%.0f", v))
		}
		text, err := plotter.NewLabels(labels)
		if err != nil {
			return err
		}
		for j := range text.TextStyle {
			text.TextStyle[j].XAlign, text.TextStyle[j].YAlign = draw.XCenter, draw.YBottom
		}
		text.Offset.Y = vg.Points(2)
		g.Add(text)
		g.NominalX(p.Names...)
		g.X.Tick.Label.Font.Size = vg.Points(8)
		g.X.Min, g.X.Max = -0.6, float64(len(p.Values))-0.4
		g.Y.Min, g.Y.Max = 0, 1.1*highest // room for the number
		row[i] = g
	}
	for i, c := range plot.Align([][]*plot.Plot{row}, draw.Tiles{Rows: 1, Cols: len(row), PadX: vg.Points(12)}, draw.New(canvas))[0] {
		row[i].Draw(c)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
