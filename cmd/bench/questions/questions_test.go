package questions

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

var testSubnets = map[string]string{
	"eni-0": "subnet-b", "eni-00112233445566778": "subnet-a", "eni-1": "subnet-a", "eni-unused": "subnet-c",
}

// stream is a source of records in memory.
type stream struct {
	records []flow.Record
	ordered bool
	reads   int
}

func (s *stream) Ordered() bool { return s.ordered }

func (s *stream) Records(context.Context) iter.Seq2[*flow.Record, error] {
	s.reads++
	return func(yield func(*flow.Record, error) bool) {
		var r flow.Record // one for all, as a source may do
		for i := range s.records {
			r = s.records[i]
			if !yield(&r, nil) {
				return
			}
		}
	}
}

// writeSubnets writes testSubnets to a file.
func writeSubnets(t *testing.T) string {
	t.Helper()
	text := "interface_id,subnet_id\n"
	for eni, subnet := range testSubnets {
		text += eni + "," + subnet + "\n"
	}
	name := filepath.Join(t.TempDir(), "subnets.csv")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// checkAnswers compares the files in dir with the oracle's.
func checkAnswers(t *testing.T, dir string, records []flow.Record) {
	t.Helper()
	for name, want := range map[string]string{
		"sessions.csv": wantSessions(records),
		"rejects.csv":  wantRejects(records),
		"demand.csv":   wantDemand(records, testSubnets),
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if string(got) != want {
			t.Errorf("%s: %s", name, firstDifference(string(got), want))
		}
	}
}

// firstDifference tells the first line in which two texts differ.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: got %q, want %q", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

// askStream answers from s and returns the directory of the answers.
func askStream(t *testing.T, s *stream) string {
	t.Helper()
	dir := t.TempDir()
	if err := ask(t.Context(), s, &Options{Subnets: writeSubnets(t), Out: dir}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAskOracle(t *testing.T) {
	for _, c := range []struct {
		name     string
		hosts, n int
		interval int64
		ordered  bool
	}{
		{"few hosts", 12, 25_000, 60, true},
		{"many hosts", 150, 25_000, 60, true},
		{"long interval", 40, 25_000, 600, true},
		{"beyond the longest interval", 40, 25_000, 3000, true},
		{"no order", 40, 25_000, 60, false},
		{"little", 5, 10, 60, true},
		{"nothing", 5, 0, 60, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(uint64(c.hosts), c.hosts, 8*3600, c.interval)
			records := w.records(c.n)
			if !c.ordered {
				w.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
			}
			s := &stream{records: records, ordered: c.ordered}
			checkAnswers(t, askStream(t, s), records)
			if c.interval <= maxInterval && s.reads != 1 {
				t.Errorf("read %d times, want once", s.reads)
			}
		})
	}
}

// TestAskBrokenPromise has logs that promise an order, and in which hours come
// in any order: the answers are still right, by reading the log again.
func TestAskBrokenPromise(t *testing.T) {
	w := newWorld(7, 40, 8*3600, 60)
	hours := slices.Collect(slices.Chunk(w.records(60_000), 7500))
	w.Shuffle(len(hours), func(i, j int) { hours[i], hours[j] = hours[j], hours[i] })
	s := &stream{records: slices.Concat(hours...), ordered: true}
	checkAnswers(t, askStream(t, s), s.records)
	if s.reads != 2 {
		t.Errorf("read %d times, want twice", s.reads)
	}
}

func TestAggregateOracle(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 65, 50_000} {
		records := newWorld(3, 30, 3600, 60).records(n)
		var got bytes.Buffer
		if err := aggregate(t.Context(), &stream{records: records}, &got); err != nil {
			t.Fatal(err)
		}
		if want := wantAggregate(records); got.String() != want {
			t.Errorf("%d records: got %s, want %s", n, got.String(), want)
		}
	}
}
