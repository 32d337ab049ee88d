package analyze

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// randomRecords makes records of a few five-tuples at two interfaces, with
// reuse, silence, flags and rejects.
func randomRecords(rng *rand.Rand, n int) []flow.Record {
	addrs := []flow.Addr{flow.AddrFrom4(0x0a000105), flow.AddrFrom4(0x0a000106), flow.AddrFrom4(0xcb00710a)}
	var rs []flow.Record
	for range n {
		a, b := rng.IntN(2), 2
		r := flow.Record{
			InterfaceID: fmt.Sprintf("eni-%d", rng.IntN(2)), Src: addrs[a], Dst: addrs[b],
			SrcPort: uint16(40000 + rng.IntN(2)), DstPort: uint16(21 + rng.IntN(2)*50000), Proto: flow.TCP,
			Packets: uint64(1 + rng.IntN(9)), Bytes: uint64(40 + rng.IntN(900)),
			Start: int64(1000 + rng.IntN(3000)), Action: flow.Accept,
			TCPFlags: []flow.TCPFlags{0, flow.SYN, flow.SYN | flow.FIN, flow.FIN, flow.RST}[rng.IntN(5)],
			Has:      flow.Fields(flow.FieldTCPFlags),
		}
		r.End = r.Start + int64(rng.IntN(60))
		if rng.IntN(2) == 0 {
			r.Src, r.Dst, r.SrcPort, r.DstPort = r.Dst, r.Src, r.DstPort, r.SrcPort
			if r.TCPFlags.Has(flow.SYN) {
				r.TCPFlags |= flow.ACK
			}
		}
		if rng.IntN(5) == 0 {
			r.Action = flow.Reject
		}
		rs = append(rs, r)
	}
	return rs
}

// slowConnections is the connection assembly in its most literal form: for
// every record, look at all others of its five-tuple that come before it, and
// decide whether they belong together.
func slowConnections(rs []flow.Record) []string {
	slices.SortStableFunc(rs, func(a, b flow.Record) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
	})
	part := make([]int, len(rs)) // the first record of each record's connection
	for i, r := range rs {
		part[i] = i
		latest := -1
		for j := range i {
			if rs[j].InterfaceID == r.InterfaceID && (rs[j].Tuple() == r.Tuple() || rs[j].Tuple() == r.Tuple().Reverse()) {
				latest = j
			}
		}
		if latest < 0 {
			continue
		}
		end, opened, closed := int64(0), false, false
		for j := range i {
			if part[j] == part[latest] && sameTuple(rs[j], r) {
				end = max(end, rs[j].End)
				opened = opened || rs[j].TCPFlags.Has(flow.SYN) && !rs[j].TCPFlags.Has(flow.ACK)
				closed = closed || rs[j].TCPFlags&(flow.FIN|flow.RST) != 0
			}
		}
		late := !opened && r.Start-rs[part[latest]].Start <= startSlack && !slowCloses(rs, i)
		if r.Start-end <= silenceTCP && !(closed && slowOpens(rs, i) && r.Start-end > reuseAfterClose && !late) {
			part[i] = part[latest]
		}
	}
	var out []string
	for i := range rs {
		if part[i] != i {
			continue
		}
		var sum [4]uint64 // accepted and rejected, for the canonical direction and back
		end := int64(0)
		t, _ := rs[i].Tuple().Canonical()
		for j := range rs {
			if part[j] != i {
				continue
			}
			k := 0
			if rs[j].Tuple() != t {
				k = 2
			}
			if rs[j].Action == flow.Reject {
				k++
			}
			sum[k] += rs[j].Packets
			end = max(end, rs[j].End)
		}
		out = append(out, fmt.Sprint(rs[i].InterfaceID, t, rs[i].Start, end, sum))
	}
	slices.Sort(out)
	return out
}

// slowOpens reports whether record i has a SYN, or answers one of its second.
func slowOpens(rs []flow.Record, i int) bool {
	return rs[i].TCPFlags.Has(flow.SYN) && slices.ContainsFunc(rs[i:], func(r flow.Record) bool {
		return sameTuple(r, rs[i]) && r.Start <= rs[i].Start+1 && r.TCPFlags.Has(flow.SYN) && !r.TCPFlags.Has(flow.ACK)
	})
}

// slowCloses reports whether a FIN or RST comes with or after record i, before
// a silence or the next opening.
func slowCloses(rs []flow.Record, i int) bool {
	end := rs[i].Start
	for j := i; j < len(rs); j++ {
		if !sameTuple(rs[j], rs[i]) {
			continue
		}
		if rs[j].Start-end > silenceTCP || rs[j].Start > rs[i].Start+startSlack && slowOpens(rs, j) {
			return false
		}
		if rs[j].TCPFlags&(flow.FIN|flow.RST) != 0 {
			return true
		}
		end = max(end, rs[j].End)
	}
	return false
}

func sameTuple(a, b flow.Record) bool {
	return a.InterfaceID == b.InterfaceID && (a.Tuple() == b.Tuple() || a.Tuple() == b.Tuple().Reverse())
}

func fastConnections(rs []flow.Record) []string {
	c := newCollector()
	for i := range rs {
		c.add(&rs[i])
	}
	var out []string
	for _, l := range c.takeStock(forever, forever, newPortMeaning(defaultControlPorts)) {
		t, forward := l.Header.Canonical()
		a, b := l.FromInitiator, l.FromResponder
		if !forward {
			a, b = b, a
		}
		out = append(out, fmt.Sprint(l.Interface.ID, t, l.Start, l.End, [4]uint64{a.Accepted, a.Rejected, b.Accepted, b.Rejected}))
	}
	slices.Sort(out)
	return out
}

func TestConnectionsAgainstQuadraticSearch(t *testing.T) {
	for seed := range uint64(60) {
		rs := withoutDuplicates(randomRecords(rand.New(rand.NewPCG(seed, 1)), 120))
		got := fastConnections(rs)
		want := slowConnections(rs)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// withoutDuplicates removes records that dedupe would take for twins, and
// those whose order in time is not decided.
func withoutDuplicates(rs []flow.Record) []flow.Record {
	seen := map[string]bool{}
	return slices.DeleteFunc(rs, func(r flow.Record) bool {
		t, _ := r.Tuple().Canonical()
		k := fmt.Sprint(r.InterfaceID, t, r.Start)
		was := seen[k]
		seen[k] = true
		return was
	})
}

func TestOrderChangesNoConnection(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	rs := randomRecords(rng, 200)
	want := fastConnections(rs)
	for range 20 {
		rng.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
		if got := fastConnections(rs); !slices.Equal(got, want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// What a second flow log delivers again must change nothing, whether its
// intervals are the same or ten times as long.
func TestTwoFlowLogsCountOnce(t *testing.T) {
	base := func(i int) window {
		return window{start: int64(100 + 60*i), end: int64(130 + 60*i), packets: uint64(5 + i), bytes: 500, forward: i%2 == 0, action: flow.Accept, header: -1}
	}
	var fine []window
	for i := range 20 {
		fine = append(fine, base(i))
	}
	same := slices.Clone(fine)
	for i := range same {
		same[i].log = 1
	}
	coarse := []window{
		{start: 100, end: 1210, packets: 140, bytes: 5000, forward: true, action: flow.Accept, log: 2, header: -1},
		{start: 160, end: 1270, packets: 150, bytes: 5000, forward: false, action: flow.Accept, log: 2, header: -1},
	}
	for _, x := range []struct {
		name  string
		extra []window
	}{{"the same intervals", same}, {"600 s intervals", coarse}, {"both", append(slices.Clone(same), coarse...)}} {
		got, dropped := dedupe(append(slices.Clone(fine), x.extra...))
		if len(got) != len(fine) || dropped != len(x.extra) {
			t.Errorf("%s: %d windows kept and %d dropped, want %d and %d", x.name, len(got), dropped, len(fine), len(x.extra))
		}
		for _, w := range got {
			if w.log == 2 {
				t.Errorf("%s: kept the coarse window %+v", x.name, w)
			}
		}
	}
}

// preferFiner against comparing every window with every kept one.
func TestPreferFinerAgainstQuadraticSearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for range 300 {
		var ws []window
		for range rng.IntN(60) {
			start := int64(rng.IntN(600))
			ws = append(ws, window{start: start, end: start + int64(rng.IntN(40)), packets: uint64(rng.IntN(9)), log: uint32(rng.IntN(3)),
				forward: rng.IntN(2) == 0, action: []flow.Action{flow.Accept, flow.Reject}[rng.IntN(2)], header: int32(rng.IntN(3) - 1)})
		}
		slices.SortFunc(ws, window.compare)
		var want []window
		for _, l := range logsOf(ws) {
			before := slices.Clone(want)
			for _, w := range ws {
				same := func(v window) bool {
					return w.forward == v.forward && w.action == v.action && w.start <= v.end && v.start <= w.end && w.sameHeader(v)
				}
				if w.log == l && !slices.ContainsFunc(before, same) {
					want = append(want, w)
				}
			}
		}
		slices.SortFunc(want, window.compare)
		if got := preferFiner(ws, logsOf(ws)); !slices.Equal(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

func TestSilentLogKeepsItsOwnWindows(t *testing.T) {
	// A second flow log that covers another time is not a duplicate.
	a := window{start: 100, end: 150, packets: 3, action: flow.Accept, forward: true, header: -1}
	b := window{start: 300, end: 350, packets: 4, action: flow.Accept, forward: true, header: -1, log: 1}
	if got, dropped := dedupe([]window{a, b}); len(got) != 2 || dropped != 0 {
		t.Errorf("got %d windows, %d dropped; want 2, 0", len(got), dropped)
	}
}

// A five-tuple's windows are parted where a new connection opens, not where
// the times of one are out of order.
func TestSplitReuse(t *testing.T) {
	for _, c := range []struct {
		name    string
		windows string // start..end flags
		want    []int
	}{
		{"reused", "100..130 SYN,FIN 100..130 SYN,ACK,FIN 250..260 SYN,FIN 250..260 SYN,ACK,FIN", []int{2, 2}},
		{"the answer ends first", "100..130 SYN,FIN 100..130 SYN,ACK,FIN 250..259 SYN,ACK,FIN 250..260 SYN,FIN", []int{2, 2}},
		{"the answer sent again", "100..101 SYN 100..103 SYN,ACK 102..102 RST 110..110 SYN,ACK", []int{4}},
		{"the opening is late", "100..130 FIN 100..130 FIN 140..141 SYN 140..141 SYN,ACK", []int{4}},
		{"the opening is late, an answer is not", "100..130 SYN,ACK,FIN 140..141 SYN", []int{2}},
		{"an end of one, and all of another", "100..130 FIN 140..150 SYN,FIN", []int{1, 1}},
		{"an end of one, and another one later", "100..130 FIN 240..241 SYN", []int{1, 1}},
		{"silence", "100..130 0 531..540 0", []int{1, 1}},
	} {
		var ws []window
		words := strings.Fields(c.windows)
		for k := 0; k < len(words); k += 2 {
			from, to := parseSpan(words[k])
			ws = append(ws, window{start: from, end: to, flags: parseFlags(words[k+1])})
		}
		var got []int
		for _, part := range splitReuse(ws, flow.TCP) {
			got = append(got, len(part))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: parts of %v windows, want %v", c.name, got, c.want)
		}
	}
}
