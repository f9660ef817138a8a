package report

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	table := Table{Title: "Things", Note: "A note.", Columns: Columns}
	table.Add(Figure{What: "speed | ß", Unit: "s", Digits: 2, Peer: "it", Theirs: Sample{4, 2, 3}, Ours: Sample{1, 1.004, 3}, Goal: 1})
	table.Add(Figure{What: "worst", Unit: "s", Digits: 1, Ours: Sample{1, 2.04}, Goal: 2, Worst: true})
	table.Add(Figure{What: "missed", Ours: Sample{4}, Goal: 3, Peer: "it"})
	table.Add(Figure{What: "unknown", Goal: 3})
	table.Add(Figure{What: "ratio", Peer: "it", Ours: Sample{2}, Theirs: Sample{1, 1}, Ratio: 1.5})
	table.Add(Figure{What: "never", Ours: Sample{0}, Never: true})
	table.Add(Figure{What: "not never", Ours: Sample{1}, Never: true})
	table.Add(Figure{What: "least", Ours: Sample{4}, Goal: 4, Least: true})
	table.Add(Figure{What: "too little", Ours: Sample{3, 9}, Goal: 4, Least: true, Worst: true})
	table.Add(Figure{What: "least ratio", Peer: "it", Ours: Sample{2}, Theirs: Sample{3}, Ratio: 0.7, Least: true})
	table.Add(Figure{What: "none of theirs", Peer: "it", Ours: Sample{2, 2}, Theirs: Sample{2, 0}})
	require.Equal(t, `## Things

A note.

| what             | peer     | theirs                           | ours                             | ours ÷ theirs    | goal             | reached          |
|------------------|----------|----------------------------------|----------------------------------|------------------|------------------|------------------|
| speed \| ß       | it       | 3.00 s (2.00 to 4.00, n 3)       | 1.00 s (1.00 to 3.00, n 3)       | 0.50             | ≤ 1 s            | yes              |
| worst            | –        | –                                | 1.5 s (1.0 to 2.0, n 2)          | –                | ≤ 2 s, always    | yes              |
| missed           | it       | not measured                     | 4                                | –                | ≤ 3              | no               |
| unknown          | –        | –                                | not measured                     | –                | ≤ 3              | not measured     |
| ratio            | it       | 1 (1 to 1, n 2)                  | 2                                | 2.00             | ratio ≤ 1.5      | no               |
| never            | –        | –                                | 0                                | –                | ≤ 0              | yes              |
| not never        | –        | –                                | 1                                | –                | ≤ 0              | no               |
| least            | –        | –                                | 4                                | –                | ≥ 4              | yes              |
| too little       | –        | –                                | 6 (3 to 9, n 2)                  | –                | ≥ 4, always      | no               |
| least ratio      | it       | 3                                | 2                                | 0.67             | ratio ≥ 0.7      | no               |
| none of theirs   | it       | 1 (0 to 2, n 2)                  | 2 (2 to 2, n 2)                  | –                | –                | –                |
`, table.Markdown())
}

func TestSample(t *testing.T) {
	require.Equal(t, Sample{1000, 500}, Sample{32, 64}.Speeds(32))
	require.Equal(t, Sample{2, 4}, Sample{1, 2}.Scaled(2))
}
