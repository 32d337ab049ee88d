package accuracy

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Write writes the scores as tables, one line for each name, and their total.
func Write(w io.Writer, names []string, scores []*Score) {
	names = append(names[:len(names):len(names)], "all")
	scores = append(scores[:len(scores):len(scores)], Total(scores))
	writeFound(w, names, scores)
	writePairing(w, "passive", names, scores, func(s *Score) *DataScore { return &s.Passive })
	writePairing(w, "active", names, scores, func(s *Score) *DataScore { return &s.Active })
	writeStated(w, names, scores)
	writeDocument(w, names, scores)
}

// newTable makes a table with numbers to the right.
func newTable(w io.Writer, title string, columns ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetTitle(title)
	style := table.StyleLight
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(columns)
	configs := make([]table.ColumnConfig, 0, len(columns))
	for i := range columns[1:] {
		configs = append(configs, table.ColumnConfig{Number: i + 2, Align: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	return t
}

// render writes a table, with a line before the last row.
func render(t table.Writer, rows []table.Row) {
	t.AppendRows(rows[:len(rows)-1])
	t.AppendSeparator()
	t.AppendRow(rows[len(rows)-1])
	t.Render()
}

func writeFound(w io.Writer, names []string, scores []*Score) {
	t := newTable(w, "found and true: what the truth holds and was found; what was found and is true",
		"", "control found", "true", "data found", "true", "decoys claimed", "mapping found", "true", "count exact", "within 1", "inside")
	rows := make([]table.Row, len(names))
	for i, s := range scores {
		rows[i] = table.Row{names[i], s.ControlFound, s.ControlTrue, s.Passive.Found, s.Passive.True, s.Decoys.fraction(),
			s.MappingFound, s.MappingTrue, s.CountExact, s.CountNear, s.CountInside}
	}
	render(t, rows)
}

func writePairing(w io.Writer, mode string, names []string, scores []*Score, of func(*Score) *DataScore) {
	t := newTable(w, mode+" data connections: the right session",
		"", "one open", "several open", "share", "claims true", "claims found", "covered", "mean candidates")
	var rows []table.Row
	for i, s := range scores {
		d := of(s)
		if d.Found.All == 0 && d.True.All == 0 && i < len(names)-1 {
			continue
		}
		rows = append(rows, table.Row{names[i], d.One.fraction(), d.Several.fraction(), d.Several, d.ClaimTrue, d.ClaimFound, d.Covered, d.candidates(2)})
	}
	render(t, rows)
}

// writeStated writes how often guesses of each stated confidence are right.
func writeStated(w io.Writer, names []string, scores []*Score) {
	columns := []any{"right of guesses, by confidence"}
	for i := range 10 {
		columns = append(columns, fmt.Sprintf(".%d", i))
	}
	t := newTable(w, "calibration", append(columns, "largest deviation")...)
	rows := make([]table.Row, len(names))
	for i, s := range scores {
		rows[i] = table.Row{names[i]}
		for _, tenth := range s.Stated {
			rows[i] = append(rows[i], tenth.Right.fraction())
		}
		rows[i] = append(rows[i], fmt.Sprintf("%+.3f", s.Deviation()))
	}
	render(t, rows)
	total := scores[len(scores)-1]
	shares := newTable(w, "calibration of all", "confidence", "guesses", "stated", "right", "deviation")
	for i, x := range total.Stated {
		if x.Right.All > 0 {
			shares.AppendRow(table.Row{fmt.Sprintf(".%d", i), x.Right.All, fmt.Sprintf("%.3f", x.Stated/float64(x.Right.All)),
				fmt.Sprintf("%.3f", x.Right.Share()), fmt.Sprintf("%+.3f", x.Deviation())})
		}
	}
	shares.Render()
}

// writeDocument writes what a reader of docs/inference.md needs, in Markdown.
func writeDocument(w io.Writer, names []string, scores []*Score) {
	t := newTable(w, "", "", "found", "true", "others taken", "one open", "several open", "given", "given right", "set holds", "candidates", "number in range", "mapping right")
	for i, s := range scores {
		p := &s.Passive
		t.AppendRow(table.Row{names[i], p.Found.percent(), p.True.percent(), s.Decoys.fraction(), p.One.percent(), p.Several.percent(), Ratio{p.ClaimTrue.All, p.True.All}.percent(),
			p.ClaimTrue.percent(), p.Covered.percent(), p.candidates(1), s.CountInside.percent(), s.MappingTrue.percent()})
	}
	t.RenderMarkdown()
}

// candidates gives the mean number of candidates.
func (d *DataScore) candidates(digits int) string {
	if d.Found.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, float64(d.Candidates)/float64(d.Found.N))
}

// String gives the share in percent.
func (r Ratio) String() string {
	if r.All == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*r.Share())
}

// percent gives the share in percent, rounded down: 100 means all of them.
func (r Ratio) percent() string {
	if r.All == 0 {
		return "-"
	}
	return fmt.Sprintf("%d", 100*r.N/r.All)
}

// fraction gives the numbers.
func (r Ratio) fraction() string {
	if r.All == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", r.N, r.All)
}
