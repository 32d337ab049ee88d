package analyze

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// during against looking at every session.
func TestSessionsDuring(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 9))
	for range 200 {
		var l sessionList
		start := int64(0)
		for range rng.IntN(40) {
			start += int64(rng.IntN(5))
			l.sessions = append(l.sessions, &session{conn: &Connection{Start: start}, end: start + int64(rng.IntN(1+rng.IntN(60)))})
		}
		for at := int64(-3); at < start+70; at++ {
			var want []*session
			for _, s := range l.sessions {
				if s.conn.Start <= at && at <= s.end+1 {
					want = append(want, s)
				}
			}
			if got := l.during(at); !slices.Equal(got, want) {
				t.Fatalf("at %d: %d sessions, want %d", at, len(got), len(want))
			}
		}
	}
	if got := (*sessionList)(nil).during(5); got != nil {
		t.Errorf("the nil list gives %v", got)
	}
}

// A session that is nobody's best candidate is not said to have carried no
// data when it may have.
func TestSessionThatMayHaveCarriedData(t *testing.T) {
	s := &session{fate: fate{outcome: OutcomeOK, established: true}}
	if o, _, _, _ := s.outcome(); o != OutcomeNoData || s.mode() != "none" {
		t.Errorf("without candidates: got %s, %s; want %s, none", o, s.mode(), OutcomeNoData)
	}
	s.possible.add(&dataConn{shares: []float64{0.3}})
	if o, _, cause, confidence := s.outcome(); o != OutcomeOK || confidence != 0.5 || s.mode() != "passive" {
		t.Errorf("with a candidate: got %s (%s) at %v, %s; want %s at 0.5, passive", o, cause, confidence, s.mode(), OutcomeOK)
	}
}

// The sessions that walk holds open at a connection's start against looking
// at all sessions of the log.
func TestWalkKeepsWhatIsOpen(t *testing.T) {
	inFormats(t, func(t *testing.T, lf logFormat) {
		rs := longLog(lf, rand.New(rand.NewPCG(5, 2)), 12)
		o := Options{Network: network(t)}.withDefaults()
		var cs []*Connection
		ports := newPortMeaning(o.ControlPorts)
		s := newAssembler(o, ports, func(c *Connection) { cs = append(cs, c) })
		if err := s.read(stream(rs)); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(cs, compareConnections)
		f := &ftp{control: ports.control, attr: &attributor{history: o.Network, stale: map[string]int{}}}
		f.survey(slices.Values(cs))
		var all []*session
		f.walk(slices.Values(cs), visitor{
			opened:     func(s *session) { all = append(all, s) },
			connection: func(*Connection, *dataConn, *openSessions) {},
		})
		seen, some := 0, 0
		f.walk(slices.Values(cs), visitor{connection: func(c *Connection, _ *dataConn, open *openSessions) {
			seen++
			pair := pairKey{c.Tuple.Src, c.Tuple.Dst}
			var want []string
			for _, s := range all {
				if s.able && s.pairKey() == pair && s.conn.Start <= c.Start && c.Start <= s.end+1 {
					want = append(want, s.id)
				}
			}
			var got []string
			for _, s := range open.byPair[pair].during(c.Start) {
				got = append(got, s.id)
			}
			if !slices.Equal(got, want) {
				t.Errorf("at %d: got %q, want %q", c.Start, got, want)
			}
			some += len(want)
			if most := len(open.byID); most > len(all)/4 {
				t.Errorf("at %d: %d of %d sessions are held", c.Start, most, len(all))
			}
		}})
		if seen+len(all) != len(cs) || some == 0 {
			t.Errorf("%d connections and %d sessions of %d, %d of them candidates", seen, len(all), len(cs), some)
		}
	})
}
