package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"

	"ephemera/analyze"
)

// WriteReplayCSV writes the connections whose fate changes, one a row.
func WriteReplayCSV(w io.Writer, r *analyze.Replay) error {
	return cmp.Or(newTable("changed", r.Changed).writeCSV(w), r.Changed.Err())
}

// WriteReplayJSON writes the counts, and the connections whose fate changes,
// one a line.
func WriteReplayJSON(w io.Writer, r *analyze.Replay) error {
	out := bufio.NewWriter(w)
	counts, err := json.Marshal(r)
	if err != nil {
		return err
	}
	out.WriteString("{\n \"counts\": " + string(counts) + ",\n \"changed\": ")
	if err := newTable("changed", r.Changed).writeJSON(out); err != nil {
		return err
	}
	out.WriteString("\n}\n")
	return cmp.Or(r.Changed.Err(), out.Flush())
}
