package accuracy

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"ephemera/analyze"
	"ephemera/analyze/simulate"
)

var (
	long   = flag.Bool("accuracy", false, "measure on all presets with several seeds, and print the tables")
	plot   = flag.String("plot", "", "with -accuracy, a `file` to draw the calibration in")
	update = flag.Bool("update", false, "rewrite the golden files")
)

// seeds is how many are measured at length.
const seeds = 3

// short and shortTransfers are how many sessions a preset has in the short
// run, and how many transfers they have, at most.
const (
	short          = 30
	shortTransfers = 4
)

// floors are the least shares that the short run must reach over all
// presets. To be raised when the analysis has become better.
var floors = []struct {
	name  string
	floor float64
	of    func(*Score) Ratio
}{
	{"control found", 0.99, func(s *Score) Ratio { return s.ControlFound }},
	{"control true", 0.97, func(s *Score) Ratio { return s.ControlTrue }},
	{"data found", 0.95, func(s *Score) Ratio { return s.Passive.Found }},
	{"data true", 0.95, func(s *Score) Ratio { return s.Passive.True }},
	{"one open", 0.92, func(s *Score) Ratio { return s.Passive.One }},
	{"several open", 0.45, func(s *Score) Ratio { return s.Passive.Several }},
	{"claims true", 0.87, func(s *Score) Ratio { return s.Passive.ClaimTrue }},
	{"claims found", 0.35, func(s *Score) Ratio { return s.Passive.ClaimFound }},
	{"covered", 0.97, func(s *Score) Ratio { return s.Passive.Covered }},
	{"mapping found", 0.97, func(s *Score) Ratio { return s.MappingFound }},
	{"mapping true", 0.97, func(s *Score) Ratio { return s.MappingTrue }},
	{"count within 1", 0.8, func(s *Score) Ratio { return s.CountNear }},
	{"count inside", 0.88, func(s *Score) Ratio { return s.CountInside }},
}

// Ceilings of the short run.
const (
	maxDecoys    = 0.15
	maxDeviation = 0.3
)

// situation is what is measured under one name: for each seed a Config.
type situation struct {
	name   string
	config func(seed uint64) simulate.Config
}

func situations() []situation {
	all := []situation{{"anything", simulate.Anything}}
	for _, p := range simulate.Presets() {
		all = append(all, situation{p.Name, func(uint64) simulate.Config { return p.Config }})
	}
	return all
}

// measure returns the scores of situations, on as many processors as there
// are.
func measure(t *testing.T, all []situation) []*Score {
	t.Helper()
	n := 1
	if *long {
		n = seeds
	}
	scores := make([]*Score, len(all)*n)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range scores {
		g.Go(func() (err error) {
			seed := uint64(HeldOut + i%n)
			c := all[i/n].config(seed)
			if !*long {
				c.Sessions, c.Transfers = min(c.Sessions, short), min(cmp.Or(c.Transfers, shortTransfers), shortTransfers)
			}
			scores[i], err = Measure(c, seed, analyze.Options{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	totals := make([]*Score, len(all))
	for i := range totals {
		totals[i] = Total(scores[i*n : (i+1)*n])
	}
	return totals
}

func TestAccuracy(t *testing.T) {
	situations := situations()
	scores := measure(t, situations)
	all := Total(scores)
	if *long {
		var names []string
		for _, s := range situations {
			names = append(names, s.name)
		}
		Write(os.Stdout, names, scores)
		if *plot != "" {
			writePlot(t, *plot, all)
		}
		return
	}
	for _, f := range floors {
		r := f.of(all)
		t.Logf("%s: %s of %d", f.name, r, r.All)
		if !(r.Share() >= f.floor) {
			t.Errorf("%s: got %s of %d, want at least %.1f%%", f.name, r, r.All, 100*f.floor)
		}
	}
	t.Logf("decoys: %s of %d; deviation %.3f", all.Decoys, all.Decoys.All, all.Deviation())
	if all.Decoys.Share() > maxDecoys {
		t.Errorf("decoys: got %s, want at most %.1f%%", all.Decoys, 100*maxDecoys)
	}
	if d := all.Deviation(); math.Abs(d) > maxDeviation {
		t.Errorf("confidence: the largest deviation is %.3f, want at most %.3f", d, maxDeviation)
	}
}

func writePlot(t *testing.T, file string, s *Score) {
	t.Helper()
	var b bytes.Buffer
	if err := s.Plot(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// perfect makes the result that an analysis would have to give, of which wrong
// gives every wrong-th data connection to another session; none if 0.
func perfect(x *simulate.Traffic, wrong int) *analyze.Result {
	at := func(s float64) analyze.Time { return analyze.Time(s) }
	id := func(session int) string { return fmt.Sprintf("s-%d", session) }
	var sessions []analyze.Session
	counts := make([]int, len(x.Sessions))
	var data []analyze.DataConnection
	for _, d := range x.Data {
		if d.Records == 0 {
			continue
		}
		session := d.Session
		if wrong > 0 && len(data)%wrong == 0 {
			session = (session + 1) % len(x.Sessions)
		}
		row := analyze.DataConnection{
			SessionID: id(session), Candidates: []string{id(session)}, Confidence: 1, Mode: "passive", Start: at(d.Start), End: at(d.End),
			ClientAddr: d.Src, ClientPort: d.SrcPort, ServerAddr: d.Dst, ServerPort: d.DstPort,
		}
		if d.Active {
			row.Mode, row.ClientAddr, row.ClientPort, row.ServerAddr, row.ServerPort = "active", d.Dst, d.DstPort, d.Src, d.SrcPort
		}
		data = append(data, row)
		counts[d.Session]++
	}
	for i, s := range x.Sessions {
		if s.Records == 0 {
			continue
		}
		sessions = append(sessions, analyze.Session{
			ID: id(i), ClientAddr: s.Src, ClientPort: s.SrcPort, ServerAddr: s.Dst, ServerPort: s.DstPort, Start: at(s.Start), End: at(s.End),
			DataConnections: counts[i], DataLow: counts[i], DataHigh: counts[i],
		})
	}
	var mappings []analyze.Mapping
	for _, m := range x.Mappings {
		if m.Records == 0 {
			continue
		}
		mappings = append(mappings, analyze.Mapping{
			Protocol: uint8(m.Proto), ClientAddr: m.Src, ClientPort: m.SrcPort, ServerAddr: m.Dst, ServerPort: m.DstPort,
			NATAddr: m.NATAddr, NATPort: m.NATPort, Start: at(m.Start), End: at(m.End),
		})
	}
	return &analyze.Result{Sessions: analyze.RowsOf(sessions...), Data: analyze.RowsOf(data...), Mappings: analyze.RowsOf(mappings...)}
}

// The truth itself gets full marks.
func TestComparePerfect(t *testing.T) {
	for _, p := range simulate.Presets() {
		c := p.Config
		c.Sessions, c.Loss = min(c.Sessions, short), 0
		x := simulate.Run(c)
		s := Compare(x, perfect(x, 0))
		for name, r := range map[string]Ratio{
			"control found": s.ControlFound, "control true": s.ControlTrue, "data found": s.Passive.Found, "data true": s.Passive.True,
			"one open": s.Passive.One, "several open": s.Passive.Several, "claims true": s.Passive.ClaimTrue, "claims found": s.Passive.ClaimFound,
			"covered": s.Passive.Covered, "active": s.Active.ClaimFound, "mapping found": s.MappingFound, "mapping true": s.MappingTrue,
			"count": s.CountExact, "count near": s.CountNear, "count inside": s.CountInside,
		} {
			if r.N != r.All || r.All == 0 && name != "active" && name != "several open" {
				t.Errorf("%s: %s: got %d of %d, want all", p.Name, name, r.N, r.All)
			}
		}
		if s.Decoys.N > 0 || s.Deviation() != 0 {
			t.Errorf("%s: %d decoys, deviation %f, want none", p.Name, s.Decoys.N, s.Deviation())
		}
	}
}

// What is wrong is counted as wrong.
func TestCompareWrong(t *testing.T) {
	x := simulate.Run(simulate.Config{Sessions: 200, Parallelism: 4, Decoys: 0.5})
	r := perfect(x, 2)
	o := x.Others[slices.IndexFunc(x.Others, func(o simulate.Other) bool { return o.Kind == simulate.HTTP })]
	r.Data = analyze.RowsOf(append(slices.Collect(r.Data.All())[1:], analyze.DataConnection{
		Mode: "passive", ClientAddr: o.Src, ClientPort: o.SrcPort, ServerAddr: o.Dst, ServerPort: o.DstPort, Start: analyze.Time(o.Start), End: analyze.Time(o.End),
	})...)
	mappings := slices.Collect(r.Mappings.All())
	mappings[0].NATPort++
	r.Mappings = analyze.RowsOf(mappings[:len(mappings)-1]...)
	sessions := slices.Collect(r.Sessions.All())
	k := len(sessions)
	sessions[0].DataConnections++                              // within 1, and outside
	sessions[1].DataLow, sessions[1].DataHigh = 1000, 2000     // exact, and outside
	sessions[2].DataConnections, sessions[2].DataHigh = 99, 99 // inside alone
	sessions[0].DataLow++
	r.Sessions = analyze.RowsOf(sessions...)
	s := Compare(x, r)
	n, m := s.Passive.Found.All, len(mappings)
	for _, test := range []struct {
		name      string
		got, want Ratio
	}{
		{"data found", s.Passive.Found, Ratio{n - 1, n}},
		{"data true", s.Passive.True, Ratio{n - 1, n}},
		{"claims true", s.Passive.ClaimTrue, Ratio{n / 2, n - 1}},
		{"claims found", s.Passive.ClaimFound, Ratio{n / 2, n}},
		{"paired", s.Passive.One.plus(s.Passive.Several), Ratio{n / 2, n}},
		{"covered", s.Passive.Covered, Ratio{n / 2, n - 1}},
		{"decoys", s.Decoys, Ratio{1, s.Decoys.All}},
		{"mapping found", s.MappingFound, Ratio{m - 2, m}},
		{"mapping true", s.MappingTrue, Ratio{m - 2, m - 1}},
		{"count exact", s.CountExact, Ratio{k - 2, k}},
		{"count near", s.CountNear, Ratio{k - 1, k}},
		{"count inside", s.CountInside, Ratio{k - 2, k}},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, test.got, test.want)
		}
	}
	if d := s.Deviation(); d > -0.4 {
		t.Errorf("half of what is stated for sure is wrong, and the deviation is %f", d)
	}
}

func TestWrite(t *testing.T) {
	x := simulate.Run(simulate.Config{Sessions: 50})
	s := Compare(x, perfect(x, 0))
	var b strings.Builder
	Write(&b, []string{"one", "two"}, []*Score{s, s})
	for _, want := range []string{"one", "two", "all", "100.0%", fmt.Sprintf("%d/%d", 2*s.Passive.One.N, 2*s.Passive.One.All)} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, &b)
		}
	}
	if strings.Contains(b.String(), "NaN") {
		t.Errorf("a share of nothing in\n%s", &b)
	}
	if row := "| two | 100 | 100 | - | 100 |"; !strings.Contains(b.String(), row) {
		t.Errorf("no line for a document, %s, in\n%s", row, &b)
	}
}
