package analyze

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"ephemera/analyze/simulate"
	"ephemera/ingest/flow"
)

// A natScore compares mappings with the truth.
type natScore struct {
	truth, stated, right int
	sure, sureRight      int     // with a confidence of 0.9 and more
	expected, variance   float64 // of right, if the confidences mean what they say
	wrong                []string
}

// count compares one result with the truth. A mapping is right when the
// client's connection had that NAT port at about that time.
func (s *natScore) count(tr *simulate.Traffic, r *Result) {
	truth := map[flow.Tuple][]simulate.Mapping{}
	for _, m := range tr.Mappings {
		truth[m.Ends] = append(truth[m.Ends], m)
		if m.Records > 0 {
			s.truth++
		}
	}
	for m := range r.Mappings.All() {
		k := flow.Tuple{Src: m.ClientAddr, Dst: m.ServerAddr, SrcPort: m.ClientPort, DstPort: m.ServerPort, Proto: flow.Proto(m.Protocol)}
		ok := false
		for _, w := range truth[k] {
			near := float64(m.Start) < w.End+2*startSlack && float64(m.End) > w.Start-2*startSlack
			ok = ok || near && (m.NATAddr == w.NATAddr || m.NATAddr == w.Primary) && m.NATPort == w.NATPort
		}
		s.stated++
		s.expected += m.Confidence
		s.variance += m.Confidence * (1 - m.Confidence)
		if ok {
			s.right++
		}
		if m.Confidence >= 0.9 {
			s.sure++
			if ok {
				s.sureRight++
			} else {
				s.wrong = append(s.wrong, fmt.Sprintf("%+v, really %+v", m, truth[k]))
			}
		}
	}
}

// Mappings of simulated traffic, with its truth: what is stated as sure is
// right, and of what is stated with a confidence, as many are right as that
// says.
func TestMappingsOfSimulatedTraffic(t *testing.T) {
	// lost drops one record in twenty.
	lost := func(*flow.Record) int { return 20 }
	// lostInside drops most records between clients and gateway there.
	lostInside := func(r *flow.Record) int {
		if r.Src != r.PktSrc || r.Dst != r.PktDst {
			return 1 + int(r.SrcPort^r.DstPort)%2
		}
		return math.MaxInt
	}
	for _, c := range []struct {
		name string
		edit func(*simulate.Config)
		lost func(*flow.Record) int // one in how many
		sure float64                // the least share of the sure ones that is right
	}{
		{"calm", func(c *simulate.Config) { c.Rich = true }, nil, 0.999},
		{"dense", func(c *simulate.Config) {
			c.Rich, c.Parallelism, c.All, c.Cron, c.Think = true, 16, true, 1, time.Millisecond
		}, nil, 0.999},
		{"bursts", func(c *simulate.Config) { c.Rich, c.BruteForce = true, 2 }, nil, 0.999},
		{"bursts in the default format", func(c *simulate.Config) { c.BruteForce = 2 }, nil, 0.999},
		{"bursts through several gateways", func(c *simulate.Config) { c.BruteForce, c.NATGateways, c.NATAddresses = 2, 2, 3 }, nil, 0.999},
		{"windows of ten minutes", func(c *simulate.Config) { c.BruteForce, c.Window = 2, 10*time.Minute }, nil, 0.999},
		{"late", func(c *simulate.Config) { c.BruteForce, c.Late = 2, time.Minute }, nil, 0.999},
		{"windows lost", func(c *simulate.Config) { c.Rich, c.BruteForce, c.Loss = true, 2, 0.05 }, nil, 0.999},
		{"windows lost in the default format", func(c *simulate.Config) { c.BruteForce, c.Loss, c.NATGateways = 2, 0.05, 2 }, nil, 0.999},
		{"replies blocked", func(c *simulate.Config) { c.BruteForce, c.BlockedReplies, c.BlockedPassive = 2, 0.3, 0.3 }, nil, 0.999},
		{"records lost", func(c *simulate.Config) { c.Decoys = 1 }, lost, 0.998},
		{"records lost in bursts", func(c *simulate.Config) { c.Rich, c.BruteForce = true, 2 }, lost, 0.985},
		{"records of the inside lost", func(c *simulate.Config) { c.Rich, c.BruteForce, c.NATGateways = true, 1, 2 }, lostInside, 0.995},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var s natScore
			for seed := range uint64(natSeeds) {
				cfg := simulate.Config{Seed: 100 + seed, Sessions: 400, Parallelism: 4, Transfers: 2}
				c.edit(&cfg)
				if cfg.BruteForce > 0 {
					cfg.Sessions = 1000
				}
				tr := simulate.Run(cfg)
				rng := rand.New(rand.NewPCG(seed, 1))
				rs := make([]flow.Record, 0, len(tr.Records))
				for i := range tr.Records {
					if c.lost == nil || rng.IntN(c.lost(&tr.Records[i])) > 0 {
						rs = append(rs, tr.Records[i])
					}
				}
				s.count(tr, analysed(t, rs, Options{}))
			}
			if s.sureRight < int(c.sure*float64(s.sure)) {
				t.Errorf("%d of %d sure mappings are right; want %.1f %%. Not so: %s", s.sureRight, s.sure, 100*c.sure, s.wrong[0])
			}
			doubt := 0.002
			if c.lost != nil {
				doubt = 0.02 // what is lost one by one is not expected
			}
			if surplus := s.expected - float64(s.right); surplus > 4*math.Sqrt(s.variance)+doubt*float64(s.stated) {
				t.Errorf("%d of %d mappings are right, and %.0f according to their confidence", s.right, s.stated, s.expected)
			}
			if c.lost == nil && s.stated < s.truth*8/10 || s.right < s.stated*7/10 {
				t.Errorf("of %d mappings %d are stated, %d of them right", s.truth, s.stated, s.right)
			}
			t.Logf("of %d mappings %d are stated, %d right (%.0f expected), and %d sure, %d of them right", s.truth, s.stated, s.right, s.expected, s.sure, s.sureRight)
		})
	}
}

// natSeeds is how many simulations each row makes.
const natSeeds = 1
