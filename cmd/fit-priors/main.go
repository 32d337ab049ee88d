// Command fit-priors fits what package pair knows of FTP before it reads a
// log, from traffic whose truth is known, and prints it as JSON:
//
//	go run ./cmd/fit-priors -simulate 1 CASE... > priors.json
//	go run ./cmd/fit-priors -measure CASE...
//
// A case is a directory with flow logs, a network configuration (config) and
// truth.json, which names every control connection and every data connection
// of the capture, and which control connection each belongs to.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"log"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"ephemera/analyze"
	"ephemera/analyze/pair"
	"ephemera/analyze/simulate"
	"ephemera/ingest"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

func main() {
	log.SetFlags(0)
	measure := flag.Bool("measure", false, "print how good the priors are in place of new ones")
	bound := flag.Bool("bound", false, "measure with a model fitted to the truth of each case: what better learning could reach")
	logs := flag.String("logs", "logs60/s3-v5", "the directory of a case's flow logs")
	simulated := flag.Int("simulate", 0, "how many seeds of each situation of package simulate to add")
	flag.Parse()
	var cases []*aCase
	if *simulated > 0 {
		for _, p := range simulate.Presets() {
			for seed := range uint64(*simulated) {
				cases = append(cases, simulatedCase(p, seed+1))
			}
		}
	}
	for _, dir := range flag.Args() {
		c, err := readCase(dir, *logs)
		if err != nil {
			log.Fatal(err)
		}
		cases = append(cases, c)
	}
	if *measure {
		var sum figures
		for _, c := range cases {
			var m *pair.Model
			if *bound {
				m = c.learn(pair.DefaultPriors()).Model()
			}
			f := c.measure(m)
			fmt.Printf("%-28s %v\n", c.name, f)
			sum.add(f)
		}
		fmt.Printf("%-28s %v\n", "all", sum)
		return
	}
	p := pair.StartPriors()
	var lessons []pair.Lesson
	for _, c := range cases {
		lessons = append(lessons, pair.Lesson{Learner: c.learn(p), Weight: c.weight})
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(pair.Fit(lessons, p)); err != nil {
		log.Fatal(err)
	}
}

// aCase is a log with its truth.
type aCase struct {
	name    string
	records iter.Seq2[*flow.Record, error]
	ordered bool
	weight  float64 // in the fit
	network *rules.History
	control map[flow.Tuple][]known
	data    map[flow.Tuple][]known
}

// known is a connection of the truth.
type known struct {
	start   float64
	id      string // of the control connection
	several bool
}

func readCase(dir, logs string) (*aCase, error) {
	c := &aCase{name: filepath.Base(dir), weight: 1, control: map[flow.Tuple][]known{}, data: map[flow.Tuple][]known{}}
	var err error
	if c.network, err = rules.ReadDir(filepath.Join(dir, "config")); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "truth.json"))
	if err != nil {
		return nil, err
	}
	var t struct {
		Controls, Data []struct {
			ID         string `json:"id"`
			Control    string `json:"control"`
			ClientIP   string `json:"client_ip"`
			ClientPort uint16 `json:"client_port"`
			ServerIP   string `json:"server_ip"`
			ServerPort uint16 `json:"server_port"`
			Start      float64
			Mode       string
			Candidates []string
		}
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, err
	}
	for _, x := range t.Controls {
		k, err := tuple(x.ClientIP, x.ServerIP, x.ClientPort, x.ServerPort)
		if err != nil {
			return nil, err
		}
		c.control[k] = append(c.control[k], known{start: x.Start, id: x.ID})
	}
	for _, x := range t.Data {
		if x.Mode != "passive" {
			continue
		}
		k, err := tuple(x.ClientIP, x.ServerIP, x.ClientPort, x.ServerPort)
		if err != nil {
			return nil, err
		}
		c.data[k] = append(c.data[k], known{start: x.Start, id: x.Control, several: len(x.Candidates) > 1})
	}
	files, err := ingest.Open([]string{filepath.Join(dir, logs)}, ingest.Options{Want: analyze.WantFields})
	if err != nil {
		return nil, err
	}
	c.records, c.ordered = files.Records(context.Background()), files.Ordered()
	return c, nil
}

// simulatedWeight is what a simulated log counts in the fit: what software
// really does counts more than what a simulation makes of its documentation.
const simulatedWeight = 0.1

// simulatedCase is one of package simulate's situations, with a seed that no
// measurement uses.
func simulatedCase(p simulate.Preset, seed uint64) *aCase {
	config := p.Config
	config.Seed = seed
	t := simulate.Run(config)
	c := &aCase{name: fmt.Sprintf("%s %d", p.Name, seed), ordered: true, weight: simulatedWeight, control: map[flow.Tuple][]known{}, data: map[flow.Tuple][]known{}}
	for i, s := range t.Sessions {
		c.control[s.Ends] = append(c.control[s.Ends], known{start: s.Start, id: strconv.Itoa(i)})
	}
	for _, d := range t.Data {
		if !d.Active {
			c.data[d.Ends] = append(c.data[d.Ends], known{start: d.Start, id: strconv.Itoa(d.Session)})
		}
	}
	c.records = func(yield func(*flow.Record, error) bool) {
		for i := range t.Records {
			if r := t.Records[i]; !yield(&r, nil) {
				return
			}
		}
	}
	return c
}

func tuple(src, dst string, sport, dport uint16) (flow.Tuple, error) {
	s, err := flow.ParseAddr(src)
	if err != nil {
		return flow.Tuple{}, err
	}
	d, err := flow.ParseAddr(dst)
	return flow.Tuple{Src: s, Dst: d, SrcPort: sport, DstPort: dport, Proto: flow.TCP}, err
}

// nearest returns the connection of the truth that c is.
func nearest(all map[flow.Tuple][]known, c *analyze.Connection) (known, bool) {
	var best known
	far := 70.0
	for _, k := range all[c.Tuple] {
		if d := math.Abs(k.start - float64(c.Start)); d < far {
			best, far = k, d
		}
	}
	return best, far < 70
}

// run analyses the case.
func (c *aCase) run(m *pair.Model, weighed func(analyze.Weighed)) {
	r, err := analyze.Run(c.records, analyze.Options{
		Network: c.network, ControlPorts: []uint16{2121}, Ordered: c.ordered, Model: m, Weighed: weighed,
	})
	if err != nil {
		log.Fatal(err)
	}
	r.Close()
}

// answers returns the true candidate of each data connection of a group: -1
// for another service, and ok false where the truth has no candidate.
func (c *aCase) answers(w analyze.Weighed) (given []int, several []bool, ok []bool) {
	ids := make([]string, len(w.Sessions))
	for i, s := range w.Sessions {
		k, _ := nearest(c.control, s)
		ids[i] = k.id
	}
	for i, d := range w.Data {
		k, isData := nearest(c.data, d)
		g := -1
		if isData {
			for j, control := range w.Group.Data[i].Candidates {
				if ids[control] == k.id {
					g = j
				}
			}
		}
		given, several, ok = append(given, g), append(several, k.several), append(ok, isData == (g >= 0))
	}
	return given, several, ok
}

func (c *aCase) learn(p *pair.Priors) *pair.Learner {
	l := pair.NewLearner(p)
	c.run(pair.NewModel(p), func(w analyze.Weighed) {
		given, _, _ := c.answers(w)
		l.Add(w.Group, given)
	})
	return l
}

// figures are how good answers are.
type figures struct {
	one, oneRight         int
	several, severalRight int // in groups with several candidates by the truth
	claimed, claimedRight int // of several
	held, size            float64
	decoys, decoysClaimed int
	logScore              float64
}

func (f *figures) add(g figures) {
	f.one += g.one
	f.oneRight += g.oneRight
	f.several += g.several
	f.severalRight += g.severalRight
	f.claimed += g.claimed
	f.claimedRight += g.claimedRight
	f.held += g.held
	f.size += g.size
	f.decoys += g.decoys
	f.decoysClaimed += g.decoysClaimed
	f.logScore += g.logScore
}

func (f figures) String() string {
	n := float64(max(1, f.one+f.several))
	return fmt.Sprintf("one %d/%d several %d/%d %.3f at .7 %d/%d %.3f set %.3f size %.2f decoys %d/%d score %.3f",
		f.oneRight, f.one, f.severalRight, f.several, float64(f.severalRight)/float64(max(1, f.several)),
		f.claimedRight, f.claimed, float64(f.claimedRight)/float64(max(1, f.claimed)), f.held/n, f.size/n, f.decoysClaimed, f.decoys, f.logScore/n)
}

func (c *aCase) measure(m *pair.Model) figures {
	var f figures
	c.run(m, func(w analyze.Weighed) {
		given, several, ok := c.answers(w)
		for i, a := range w.Posterior.Answers {
			best := a.Best()
			switch {
			case !ok[i]:
				f.one++
			case given[i] < 0:
				f.decoys++
				if a.Foreign < 0.5 {
					f.decoysClaimed++
				}
			default:
				right := best == given[i] && a.Foreign < 0.5
				f.logScore += math.Log(max(1e-6, a.Shares[given[i]]))
				sum := 0.0
				for _, s := range a.Shares {
					if s > a.Shares[given[i]] {
						sum += s
					}
				}
				if sum < 0.95*(1-a.Foreign) {
					f.held++
				}
				f.size += float64(credible(a))
				if !several[i] {
					f.one++
					if right {
						f.oneRight++
					}
					continue
				}
				f.several++
				if right {
					f.severalRight++
				}
				if a.Shares[best] >= 0.7 {
					f.claimed++
					if right {
						f.claimedRight++
					}
				}
			}
		}
	})
	return f
}

// credible is the size of the smallest set that holds the right candidate
// with a probability of 95 %.
func credible(a pair.Answer) int {
	left := map[int]bool{}
	sum := 0.0
	for n := 1; n <= len(a.Shares); n++ {
		best := -1
		for k, s := range a.Shares {
			if !left[k] && (best < 0 || s > a.Shares[best]) {
				best = k
			}
		}
		left[best] = true
		if sum += a.Shares[best]; sum >= 0.95*(1-a.Foreign) {
			return n
		}
	}
	return len(a.Shares)
}
