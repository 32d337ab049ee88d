package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"ephemera/ingest/flow"
)

// What is known of the interfaces at each stock, against counting the records
// that end before it: whatever their order, and however many came already that
// end later.
func TestInterfacesInAnyOrder(t *testing.T) {
	settled := 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(13, seed))
		rs := interfaceRecords(rng, 200)
		for range 4 {
			c, p := newCollector(), newPortMeaning(defaultControlPorts)
			c.ordered = true
			want := map[string]*expected{}
			stock := int64(6000)
			takeStock := func() {
				c.learn(stock, p)
				c.rankInterfaces()
				c.settleInterfaces(stock, topology{})
				for id, x := range want {
					x.settle(rs, stock)
					if got := summary(c.interfaces[id]); got != summary(&x.Interface) {
						t.Fatalf("seed %d, at %d: got %s, want %s", seed, stock, got, summary(&x.Interface))
					}
					settled += len(x.own)
				}
				stock += step
			}
			for _, r := range inOrder(rs, rng, maxDisorder) {
				for stock <= r.End-maxDisorder {
					takeStock()
				}
				c.add(&r)
				if want[r.InterfaceID] == nil {
					want[r.InterfaceID] = &expected{Interface: Interface{ID: r.InterfaceID}}
				}
			}
			for stock < 6000+5000 {
				takeStock()
			}
		}
	}
	if settled < 5000 {
		t.Errorf("%d addresses prove little", settled)
	}
}

// What is heard takes no more memory for a longer log, ordered or not.
func TestHeardIsBounded(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		a := newAssembler(Options{Ordered: ordered}, newPortMeaning(defaultControlPorts), func(*Connection) {})
		most := 0
		err := a.read(func(yield func(*flow.Record, error) bool) {
			for at := int64(6000); at < 6000+7*24*3600; at += 60 {
				r := flow.Record{
					InterfaceID: "eni-1", Src: hostAt("10.0.0.1"), Dst: hostAt("10.0.0.2"), SrcPort: 40000, DstPort: 443, Proto: flow.TCP,
					Packets: 1, Start: at, End: at + 59, Direction: flow.Egress, Has: WantFields,
				}
				if !yield(&r, nil) {
					return
				}
				most = max(most, len(a.collector.interfaces["eni-1"].heard.steps))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if limit := 1 + maxDisorder/step + 1; most == 0 || most > limit {
			t.Errorf("ordered %v: what %d steps tell was held, want at most %d", ordered, most, limit)
		}
	}
}

// interfaceRecords makes records of a few interfaces with some addresses each,
// of which the log says which are their own, or does not.
func interfaceRecords(rng *rand.Rand, n int) []flow.Record {
	var rs []flow.Record
	for range n {
		k := rng.IntN(4)
		r := flow.Record{
			InterfaceID: fmt.Sprint("eni-", k), SubnetID: fmt.Sprint("subnet-", rng.IntN(20)/19), Proto: flow.TCP, Packets: 1,
			Src: mustAddr(fmt.Sprintf("10.0.%d.%d", k, rng.IntN(12)/10)), Dst: hostAt(fmt.Sprintf("10.0.9.%d", rng.IntN(5))),
			SrcPort: uint16(40000 + rng.IntN(3)), DstPort: 443, Start: 6000 + rng.Int64N(4000), Has: WantFields,
		}
		r.End = r.Start + rng.Int64N(600)
		r.PktSrc, r.PktDst = r.Src, r.Dst
		if rng.IntN(30) == 0 {
			r.PktSrc = mustAddr("10.0.8.1")
		}
		egress := rng.IntN(2) == 0
		if !egress {
			r.Src, r.Dst, r.PktSrc, r.PktDst = r.Dst, r.Src, r.PktDst, r.PktSrc
		}
		switch {
		case k%2 == 1:
		case egress:
			r.Direction = flow.Egress
		default:
			r.Direction = flow.Ingress
		}
		rs = append(rs, r)
	}
	return rs
}

// An expected interface is brought up to records the slow way.
type expected struct {
	Interface
	votes int // how many addresses it was settled by
}

// settle brings i up to the records that end before seen.
func (i *expected) settle(rs []flow.Record, seen int64) {
	named, tuples := map[flow.Addr]int{}, map[flow.Tuple]bool{}
	i.SubnetID, i.foreign = "", 0
	for _, r := range rs {
		if r.InterfaceID != i.ID || r.End >= seen {
			continue
		}
		i.SubnetID = max(i.SubnetID, r.SubnetID)
		tuple, _ := r.Tuple().Canonical()
		tuples[tuple] = true
		switch r.Direction {
		case flow.Egress:
			named[r.Src]++
			if r.PktSrc != r.Src {
				i.foreign++
			}
		case flow.Ingress:
			named[r.Dst]++
		}
	}
	votes := named
	if len(named) == 0 {
		votes = map[flow.Addr]int{}
		for tuple := range tuples {
			votes[tuple.Src]++
			votes[tuple.Dst]++
		}
	}
	if len(votes) == i.votes {
		return // no address has come
	}
	i.votes = len(votes)
	first := slices.MinFunc(slices.Collect(maps.Keys(votes)), func(a, b flow.Addr) int {
		return cmp.Or(cmp.Compare(votes[b], votes[a]), a.Compare(b))
	})
	i.Addr = cmp.Or(i.Addr, first)
	i.own = map[flow.Addr]bool{i.Addr: true}
	if len(named) == 0 {
		i.own[first] = true
	}
	for a := range named {
		i.own[a] = true
	}
}

func summary(i *Interface) string {
	own := slices.SortedFunc(maps.Keys(i.own), flow.Addr.Compare)
	return fmt.Sprint(i.ID, " at ", i.Addr, " with ", own, " in ", i.SubnetID, ", ", i.foreign, " foreign")
}
