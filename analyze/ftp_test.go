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
	s.possible.add(&dataConn{})
	if o, _, cause, confidence := s.outcome(); o != OutcomeOK || confidence != 0.5 || s.mode() != "passive" {
		t.Errorf("with a candidate: got %s (%s) at %v, %s; want %s at 0.5, passive", o, cause, confidence, s.mode(), OutcomeOK)
	}
}
