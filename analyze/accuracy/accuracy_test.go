package accuracy

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"ephemera/analyze"
	"ephemera/analyze/simulate"
)

var long = flag.Bool("accuracy", false, "measure on all presets with several seeds, and print the tables")

// seeds is how many are measured at length.
const seeds = 5

// short and shortTransfers are how many sessions a preset has in the short
// run, and how many transfers they have, at most.
const (
	short          = 40
	shortTransfers = 4
)

// floors are the least shares that the short run must reach over all
// presets. To be raised when the analysis has become better.
var floors = []struct {
	name  string
	floor float64
	of    func(*Score) Ratio
}{
	{"control found", 0.98, func(s *Score) Ratio { return s.ControlFound }},
	{"control true", 0.98, func(s *Score) Ratio { return s.ControlTrue }},
	{"data found", 0.9, func(s *Score) Ratio { return s.Passive.Found }},
	{"data true", 0.9, func(s *Score) Ratio { return s.Passive.True }},
	{"one open", 0.85, func(s *Score) Ratio { return s.Passive.One }},
	{"several open", 0.3, func(s *Score) Ratio { return s.Passive.Several }},
	{"claims true", 0.7, func(s *Score) Ratio { return s.Passive.ClaimTrue }},
	{"claims found", 0.25, func(s *Score) Ratio { return s.Passive.ClaimFound }},
	{"covered", 0.9, func(s *Score) Ratio { return s.Passive.Covered }},
	{"mapping found", 0.9, func(s *Score) Ratio { return s.MappingFound }},
	{"mapping true", 0.9, func(s *Score) Ratio { return s.MappingTrue }},
	{"count within 1", 0.3, func(s *Score) Ratio { return s.CountNear }},
}

// Ceilings of the short run.
const (
	maxDecoys    = 0.2
	maxDeviation = 0.6
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

// measured returns the score of a situation.
func measured(t *testing.T, s situation) *Score {
	t.Helper()
	total, n := &Score{}, seeds
	if !*long {
		n = 1
	}
	for seed := HeldOut; seed < HeldOut+n; seed++ {
		c := s.config(uint64(seed))
		if !*long {
			c.Sessions, c.Transfers = min(c.Sessions, short), min(cmp.Or(c.Transfers, shortTransfers), shortTransfers)
		}
		one, err := Measure(c, uint64(seed), analyze.Options{})
		if err != nil {
			t.Fatal(err)
		}
		total.Add(one)
	}
	return total
}

func TestAccuracy(t *testing.T) {
	var names []string
	var scores []*Score
	for _, s := range situations() {
		names, scores = append(names, s.name), append(scores, measured(t, s))
	}
	all := Total(scores)
	if *long {
		Write(os.Stdout, names, scores)
		return
	}
	for _, f := range floors {
		r := f.of(all)
		t.Logf("%s: %s of %d", f.name, r, r.All)
		if !(r.Share() >= f.floor) {
			t.Errorf("%s: got %s of %d, want at least %.1f%%", f.name, r, r.All, 100*f.floor)
		}
	}
	if all.Decoys.Share() > maxDecoys {
		t.Errorf("decoys: got %s, want at most %.1f%%", all.Decoys, 100*maxDecoys)
	}
	if d := all.Deviation(); math.Abs(d) > maxDeviation {
		t.Errorf("confidence: the largest deviation is %.3f, want at most %.3f", d, maxDeviation)
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
	for i, d := range x.Data {
		session := d.Session
		if wrong > 0 && i%wrong == 0 {
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
		sessions = append(sessions, analyze.Session{
			ID: id(i), ClientAddr: s.Src, ClientPort: s.SrcPort, ServerAddr: s.Dst, ServerPort: s.DstPort, Start: at(s.Start), End: at(s.End),
			DataConnections: counts[i],
		})
	}
	var mappings []analyze.Mapping
	for _, m := range x.Mappings {
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
			"count": s.CountExact,
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
	s := Compare(x, r)
	n, m := len(x.Data), len(x.Mappings)
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
	for _, want := range []string{"one", "two", "all", "100.0%", fmt.Sprintf("%d/%d", 2*len(x.Data), 2*len(x.Data))} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, &b)
		}
	}
}
