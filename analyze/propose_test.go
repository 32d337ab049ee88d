package analyze

import (
	"cmp"
	"slices"
	"testing"

	"ephemera/analyze/simulate"
	"ephemera/ingest/flow"
)

// maxLostLater is the share of the FTP connections of the second half of a log
// that the proposal made from the first half may lose, over all situations.
// What is proposed holds one connection in a thousand outside at most; but of a
// server that is new in the second half nothing is known, and of that a
// proposal can say nothing.
const maxLostLater = 0.03

// What is proposed from the first half of a log loses nothing of that half, and
// of the second half little.
func TestProposalOfTheFirstHalf(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	var all, lost, newcomers int
	for k, p := range append(simulate.Presets(), simulate.Preset{Name: "anything", Config: simulate.Anything(7000)}) {
		c := p.Config
		c.Seed, c.Sessions, c.Transfers = 7000, min(c.Sessions, 60), min(c.Transfers, 4)
		c.BruteForce = min(c.BruteForce, 1)
		t.Run(p.Name, func(t *testing.T) {
			l := newLab(t, c, k%2 == 1)
			first, second := halves(l.records)
			o := Options{Network: l.net}
			learned := analysed(t, first, o)
			to := learned.Proposal.Rules.Revision.To
			if r := replayed(t, first, o, to).Replay; r.Lost.All > 0 {
				for c := range r.Changed.All() {
					t.Errorf("%+v", c)
				}
			}
			r := replayed(t, second, o, to).Replay
			known := map[flow.Addr]bool{}
			for s := range learned.Sessions.All() {
				known[s.ServerAddr] = true
			}
			n, unknown := 0, 0
			for c := range r.Changed.All() {
				switch {
				case c.Before != FatePasses || c.FTP == "":
				case known[c.ServerAddr]:
					n++
					t.Logf("lost: %+v", c)
				default:
					unknown++
				}
			}
			all, lost, newcomers = all+r.countAll().FTP, lost+n, newcomers+unknown
			t.Logf("the second half: %s; of FTP lost %d, and %d of servers that are new", r.counts(), n, unknown)
		})
	}
	t.Logf("of %d FTP connections of second halves %d would be lost, and %d of servers that are new", all, lost, newcomers)
	if all < 100 || float64(lost) > maxLostLater*float64(all) {
		t.Errorf("lost %d of %d, want at most %.0f %%", lost, all, 100*maxLostLater)
	}
}

// halves parts a log at the middle of its time.
func halves(rs []flow.Record) (first, second []flow.Record) {
	byEnd := func(a, b flow.Record) int { return cmp.Compare(a.End, b.End) }
	middle := (slices.MinFunc(rs, byEnd).End + slices.MaxFunc(rs, byEnd).End) / 2
	for _, r := range rs {
		if r.End < middle {
			first = append(first, r)
		} else {
			second = append(second, r)
		}
	}
	return first, second
}
