package picker

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"ephemera/rules"
)

var update = flag.Bool("update", false, "rewrite the table in docs/ranges.md")

const (
	page       = "../../docs/ranges.md"
	pageBegin  = "<!-- begin: written by the test of analyze/picker with -update -->\n"
	pageEnd    = "<!-- end -->\n"
	future     = 1000 // connections that proposals are measured against
	simulated  = 200  // runs of a cell
	shortRuns  = 20   // the same under -short, where the page is not looked at
	ruleBudget = 4    // ranges that Observed may have
)

// A scenario is one way of picking ports.
type scenario struct {
	name  string
	by    Chooser
	truth rangeOf
	start func(*rand.Rand) portPicker
}

func scenarios() []scenario {
	kernel, dyn, any := rangeOf{32768, 60999}, rangeOf{49152, 65535}, rangeOf{1024, 65535}
	list := []scenario{
		{"Linux `connect`, control connections to one server", ClientOS, kernel, linuxControl(1)},
		{"Linux `connect`, control connections to five servers", ClientOS, kernel, linuxControl(5)},
		{"Linux `connect`, control and data", ClientOS, kernel, linuxSessions},
		{"Windows, in sequence", ClientOS, dyn, dyn.inSequence(20)},
		{"macOS, anywhere", ClientOS, dyn, dyn.anywhere},
		{"NAT gateway, anywhere", NATGateway, any, any.anywhere},
		{"server: Linux `bind`", Server, kernel, linuxBind(kernel)},
		{"server: Linux `bind` with `SO_REUSEADDR`", Server, rangeOf{32768, 46883}, linuxBind(rangeOf{32768, 46883})},
		{"server: Windows, in sequence", Server, dyn, dyn.inSequence(20)},
		{"server: vsftpd, not configured", Server, any, any.anywhere},
		{"server: AWS Transfer Family", Server, rangeOf{8192, 8200}, rangeOf{8192, 8200}.anywhere},
	}
	for _, r := range []rangeOf{{50000, 50099}, {40000, 40199}, {52000, 53049}, {30000, 31000}, {60000, 65535}, {51413, 51999}, {23456, 27891}} {
		list = append(list, scenario{fmt.Sprintf("server: %d-%d, anywhere", r.low, r.high), Server, r, r.anywhere})
	}
	for _, r := range []rangeOf{{50000, 50099}, {40000, 40199}, {30000, 31000}, {51413, 51999}, {20000, 29999}} {
		list = append(list, scenario{fmt.Sprintf("server: %d-%d, in sequence", r.low, r.high), Server, r, r.inSequence(0)})
	}
	return list
}

// A cell is a line of the table: a scenario with as many past connections.
type cell struct {
	scenario
	past int
}

// A share is what is said of a proposal and what came of it.
type share struct{ stated, real float64 }

// An outcome is one run, or the mean of several.
type outcome struct {
	observed, safe share
	ports          int // of the safe range
	holds          float64
}

// run plays a cell once.
func (c cell) run(seed uint64) outcome {
	r := rand.New(rand.NewPCG(seed, uint64(c.past)))
	next := c.start(r)
	var s Sample
	now := int64(1_700_000_000)
	for range c.past {
		now += r.Int64N(4)
		s.Add(now, next(), r.Uint64())
	}
	e := Infer(&s, c.by, Options{Entries: ruleBudget})
	o := outcome{observed: share{stated: e.Observed.Outside}, safe: share{stated: e.Safe.Outside}, ports: e.Safe.Ports.Len()}
	for range future {
		port := next()
		o.observed.real += missed(e.Observed.Ports, port) / future
		o.safe.real += missed(e.Safe.Ports, port) / future
	}
	truth := rules.Ports(rules.PortRange{From: uint16(c.truth.low), To: uint16(c.truth.high)})
	if truth.Subtract(e.Safe.Ports).IsEmpty() {
		o.holds = 1
	}
	return o
}

func missed(s rules.PortSet, port uint16) float64 {
	if s.Contains(port) {
		return 0
	}
	return 1
}

// mean plays a cell as often.
func (c cell) mean(runs int) outcome {
	var m outcome
	var ports []int
	for seed := range runs {
		o := c.run(uint64(seed))
		m.observed.add(o.observed, runs)
		m.safe.add(o.safe, runs)
		m.holds += o.holds / float64(runs)
		ports = append(ports, o.ports)
	}
	slices.Sort(ports)
	m.ports = ports[len(ports)/2]
	return m
}

func (s *share) add(o share, runs int) {
	s.stated += o.stated / float64(runs)
	s.real += o.real / float64(runs)
}

// TestSimulation compares the bound with what comes after, and the table of
// the page with what was computed.
func TestSimulation(t *testing.T) {
	runs := simulated
	if testing.Short() {
		runs = shortRuns
	}
	var cells []cell
	for _, s := range scenarios() {
		for _, past := range []int{20, 200, 2000} {
			cells = append(cells, cell{s, past})
		}
	}
	outcomes := make([]outcome, len(cells))
	var group sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i, c := range cells {
		group.Go(func() {
			slots <- struct{}{}
			outcomes[i] = c.mean(runs)
			<-slots
		})
	}
	group.Wait()
	for i, c := range cells {
		o := outcomes[i]
		for _, p := range []struct {
			name string
			share
		}{{"observed", o.observed}, {"safe", o.safe}} {
			if p.real > p.stated+1e-9 {
				t.Errorf("%s, %d connections, %s: a share of %.4f is lost, stated is %.4f", c.name, c.past, p.name, p.real, p.stated)
			}
		}
	}
	if !testing.Short() {
		comparePage(t, table(cells, outcomes))
	}
}

func table(cells []cell, outcomes []outcome) string {
	var b strings.Builder
	b.WriteString("| who picks | seen | observed: stated | lost | safe: stated | lost | holds all | ports |\n|---|---|---|---|---|---|---|---|\n")
	for i, c := range cells {
		o, name := outcomes[i], c.name
		if i > 0 && cells[i-1].name == name {
			name = ""
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %.0f %% | %d |\n", name, c.past,
			percent(o.observed.stated), percent(o.observed.real), percent(o.safe.stated), percent(o.safe.real), 100*o.holds, o.ports)
	}
	return b.String()
}

func percent(share float64) string {
	if share == 0 {
		return "0"
	}
	return fmt.Sprintf("%.2f %%", 100*share)
}

// comparePage compares the table of the page, or writes it.
func comparePage(t *testing.T, want string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), pageBegin)
	got, tail, ok2 := strings.Cut(rest, pageEnd)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the lines between which the table stands", page)
	}
	if *update {
		if err := os.WriteFile(page, []byte(head+pageBegin+want+pageEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s shows\n%s\nwant\n%s", page, got, want)
	}
}
