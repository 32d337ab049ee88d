package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"ephemera/analyze"
)

func renderReplay(t *testing.T, write func(io.Writer, *analyze.Replay) error, r *analyze.Replay) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReplayGolden(t *testing.T) {
	golden(t, "replay.csv", renderReplay(t, WriteReplayCSV, fixtureReplay()))
	golden(t, "replay.json", renderReplay(t, WriteReplayJSON, fixtureReplay()))
	golden(t, "replay_empty.json", renderReplay(t, WriteReplayJSON, &analyze.Replay{}))
}

// The CSV file has every row and no formula, and the JSON document says the
// same as the CSV file, whatever the texts are.
func TestReplayHostileText(t *testing.T) {
	r := hostileResult().Replay
	rows, err := csv.NewReader(bytes.NewReader(renderReplay(t, WriteReplayCSV, r))).ReadAll()
	if err != nil || len(rows) != r.Changed.Len()+1 {
		t.Fatalf("got %d rows (%v), want %d", len(rows), err, r.Changed.Len()+1)
	}
	var document struct {
		Counts  map[string]analyze.ReplayCount
		Changed []map[string]any
	}
	if err := json.Unmarshal(renderReplay(t, WriteReplayJSON, r), &document); err != nil {
		t.Fatal(err)
	}
	if got := document.Counts["passing"]; got != r.Passing || len(document.Counts) != 8 {
		t.Errorf("got the counts %v, want 8 with %v", document.Counts, r.Passing)
	}
	for i, row := range rows[1:] {
		for j, cell := range row {
			if strings.HasPrefix(cell, "=") {
				t.Errorf("row %d, %s holds a formula: %s", i, rows[0][j], cell)
			}
			if text, ok := document.Changed[i][rows[0][j]].(string); ok && cell != neutralise(text) {
				t.Errorf("row %d, %s: got %q in CSV, %q in JSON", i, rows[0][j], cell, text)
			}
		}
		if document.Changed[i]["rule"] != hostile {
			t.Errorf("row %d: got the rule %q", i, document.Changed[i]["rule"])
		}
	}
}

func TestReplayWriteErrorsAreReturned(t *testing.T) {
	for _, room := range []int{0, 60} {
		if err := WriteReplayCSV(&failingWriter{room}, fixtureReplay()); err == nil {
			t.Errorf("WriteReplayCSV with room for %d bytes: no error", room)
		}
		if err := WriteReplayJSON(&failingWriter{room}, fixtureReplay()); err == nil {
			t.Errorf("WriteReplayJSON with room for %d bytes: no error", room)
		}
	}
}
