package digest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"ephemera/ingest/flow"
)

const compactBegin = 1795370400 - 1795370400%86400 + 3*3600 - 1000 // an hour ends soon

// addrOf reads an address.
func addrOf(t testing.TB, s string) flow.Addr {
	t.Helper()
	a, err := flow.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// proper says which fields the record has: those that have a value, and those
// whose zero is one. TCP flags are there if there were fields before.
func proper(r flow.Record) flow.Record {
	flags := r.Has == 0 || r.Has.Has(flow.FieldTCPFlags)
	r.Has = flow.Fields(flow.FieldStart, flow.FieldEnd, flow.FieldLogStatus)
	if r.Status == flow.OK {
		r.Has |= flow.Fields(flow.FieldProtocol, flow.FieldSrcPort, flow.FieldDstPort, flow.FieldPackets, flow.FieldBytes)
	}
	for f, has := range map[flow.Field]bool{
		flow.FieldTCPFlags: flags && r.Status == flow.OK, flow.FieldAction: r.Action != flow.NoAction, flow.FieldFlowDirection: r.Direction != flow.NoDirection,
		flow.FieldSrcAddr: r.Src.IsValid(), flow.FieldDstAddr: r.Dst.IsValid(), flow.FieldPktSrcAddr: r.PktSrc.IsValid(), flow.FieldPktDstAddr: r.PktDst.IsValid(),
		flow.FieldInterfaceID: r.InterfaceID != "", flow.FieldInstanceID: r.InstanceID != "", flow.FieldSubnetID: r.SubnetID != "",
	} {
		if has {
			r.Has |= flow.Fields(f)
		}
	}
	if !r.Has.Has(flow.FieldTCPFlags) {
		r.TCPFlags = 0
	}
	return r
}

// randomTraffic has few five-tuples, whose records mostly follow each other,
// with everything between them that keeps records from being merged.
func randomTraffic(t testing.TB, rng *rand.Rand, tuples, seconds int) []flow.Record {
	t.Helper()
	var all []flow.Record
	for range tuples {
		r := flow.Record{
			Has: flow.Fields(flow.FieldTCPFlags), Proto: flow.TCP, Action: flow.Accept, Status: flow.OK, FlowLogID: "fl-1",
			InterfaceID: fmt.Sprintf("eni-%d", rng.IntN(4)), InstanceID: "i-1", SrcPort: uint16(40000 + rng.IntN(3)), DstPort: []uint16{443, 8080, 53, 21}[rng.IntN(4)],
			Src: addrOf(t, fmt.Sprintf("10.0.0.%d", rng.IntN(3))), Dst: addrOf(t, fmt.Sprintf("203.0.%d.%d", rng.IntN(3), rng.IntN(2))),
		}
		r.PktSrc, r.PktDst = r.Src, r.Dst
		if rng.IntN(3) == 0 {
			r.Proto = flow.UDP
		}
		if rng.IntN(3) == 0 {
			r.Has = flow.Fields(flow.FieldStart)
		}
		if rng.IntN(8) == 0 {
			r = flow.Record{Has: r.Has, Status: flow.NoData, InterfaceID: r.InterfaceID, FlowLogID: r.FlowLogID}
		}
		if rng.IntN(40) == 0 {
			r.FlowLogID = "fl-2"
		}
		at := compactBegin + rng.Int64N(200)
		for at < compactBegin+int64(seconds) {
			x := r
			x.Start = at
			x.End = at + rng.Int64N(60)
			if x.Status == flow.OK {
				x.Packets, x.Bytes = rng.Uint64N(3), rng.Uint64N(3)
			}
			switch kind := rng.IntN(40); {
			case x.Status != flow.OK:
			case kind == 0:
				x.Action = flow.Reject
			case kind == 1:
				x.TCPFlags = flow.FIN
			case kind == 2:
				x.TCPFlags = flow.SYN
			case kind == 3:
				x.Bytes = 1<<63 - 2
			case kind == 4:
				x.SubnetID = "subnet-1"
			case kind == 5:
				x.Direction = flow.Egress
			}
			if rng.IntN(2) == 0 && x.Status == flow.OK && x.Action == flow.Accept && x.TCPFlags == 0 {
				y := x // the other way
				y.Src, y.Dst, y.SrcPort, y.DstPort, y.PktSrc, y.PktDst = x.Dst, x.Src, x.DstPort, x.SrcPort, x.PktDst, x.PktSrc
				y.End += rng.Int64N(3)
				all = append(all, proper(y))
			}
			x = proper(x)
			all = append(all, x)
			if rng.IntN(50) == 0 {
				all = append(all, x) // delivered twice
			}
			at = x.End + []int64{0, 1, 1, 2, 5, 6, 60, 119, 120, 121, 700}[rng.IntN(11)]
		}
	}
	return all
}

// shuffled puts records in an order in which none comes more than 15 minutes
// behind others that end later.
func shuffled(rng *rand.Rand, records []flow.Record) []flow.Record {
	type late struct {
		r  flow.Record
		by int64
	}
	var ls []late
	for _, r := range records {
		ls = append(ls, late{r, r.End + rng.Int64N(maxDisorder+1)})
	}
	rng.Shuffle(len(ls), func(i, j int) { ls[i], ls[j] = ls[j], ls[i] })
	slices.SortStableFunc(ls, func(a, b late) int { return int(a.by - b.by) })
	out := make([]flow.Record, len(ls))
	for i, l := range ls {
		out[i] = l.r
	}
	return out
}

func streamOf(records []flow.Record) iter.Seq2[*flow.Record, error] {
	return func(yield func(*flow.Record, error) bool) {
		for i := range records {
			r := records[i]
			if !yield(&r, nil) {
				return
			}
			r = flow.Record{} // it lasts until the next step
		}
	}
}

func noTime(string) int64 { return compactBegin }

func surveyOf(t testing.TB, per Period, records []flow.Record) *Survey {
	t.Helper()
	s := NewSurvey(per)
	if err := s.Read(streamOf(records), noTime); err != nil {
		t.Fatal(err)
	}
	return s
}

// compacted returns the records of all parts, and their digests.
func compacted(t testing.TB, per Period, records []flow.Record) (out []flow.Record, digests [][]byte) {
	t.Helper()
	s := surveyOf(t, per, records)
	for part, err := range s.Compact(streamOf(records)) {
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		inner := part.Records
		part.Records = func(yield func(*flow.Record, error) bool) {
			for r, err := range inner {
				if err == nil {
					if per.Of(r.End) != part.Begin {
						t.Fatalf("%+v is in the part of %d", r, part.Begin)
					}
					out = append(out, *r)
				}
				if !yield(r, err) {
					return
				}
			}
		}
		if _, err := s.Write(&b, part, nil, 0); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, b.Bytes())
	}
	return out, digests
}

// slowlyMerged is Compact in words of one syllable: all records in order, each
// beside all those before.
func slowlyMerged(s *Survey, records []flow.Record) []flow.Record {
	type item struct {
		r           flow.Record
		kept, first bool
		gone        bool
	}
	var all []item
	for i := range records {
		twins := 0
		for j := range records {
			if records[i].End == records[j].End && sameFlow(&records[i], &records[j]) {
				twins++
			}
		}
		all = append(all, item{r: records[i], kept: twins > 1 || !s.mayMerge(&records[i])})
	}
	slices.SortFunc(all, func(a, b item) int {
		switch {
		case a.r.End != b.r.End:
			return int(a.r.End - b.r.End)
		case a.kept != b.kept:
			if a.kept {
				return 1
			}
			return -1
		}
		return compareRecords(&a.r, &b.r)
	})
	for i := range all {
		x := &all[i]
		x.first = true
		for j := i - 1; j >= 0 && !x.kept; j-- {
			y := &all[j]
			ky, wayY := threadOf(&y.r)
			kx, wayX := threadOf(&x.r)
			if kx != ky || !y.kept && wayX != wayY {
				continue
			}
			if y.kept {
				break
			}
			gap := int64(5)
			if x.r.Proto == flow.TCP && x.r.Has.Has(flow.FieldTCPFlags) {
				gap = 120
			}
			if x.r.Status != flow.OK {
				gap = 600
			}
			a, b := y.r, x.r
			where := func(r flow.Record) flow.Record {
				return flow.Record{
					Has: r.Has, Src: r.Src, Dst: r.Dst, SrcPort: r.SrcPort, DstPort: r.DstPort, PktSrc: r.PktSrc, PktDst: r.PktDst,
					Direction: r.Direction, FlowLogID: r.FlowLogID, InterfaceID: r.InterfaceID, SubnetID: r.SubnetID, InstanceID: r.InstanceID,
				}
			}
			if fmt.Sprint(where(a)) != fmt.Sprint(where(b)) || b.Start < a.End || b.Start > a.End+gap ||
				a.End/3600 != b.End/3600 || a.Start/3600 != b.Start/3600 || a.Bytes+b.Bytes > 1<<63-1 || a.Packets+b.Packets > 1<<63-1 {
				break
			}
			x.first = false
			if y.first && a.Status == flow.OK && a.End/300 != b.End/300 || b.End-a.Start > 600 {
				break
			}
			x.first, y.gone = y.first, true
			x.r.Start, x.r.Packets, x.r.Bytes = a.Start, a.Packets+b.Packets, a.Bytes+b.Bytes
			x.r.TCPFlags |= a.TCPFlags
			x.r.Merged = a.Merged + b.Merged + 1
			break
		}
	}
	var out []flow.Record
	for _, x := range all {
		if !x.gone {
			out = append(out, x.r)
		}
	}
	return out
}

// Records are merged as the slow way does, in any order that a source may
// have; the digests have the same bytes; and merging what was merged changes
// nothing.
func TestCompactIsTheSlowWay(t *testing.T) {
	merged := 0
	seeds := uint64(60)
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(11, seed))
		records := randomTraffic(t, rng, 1+rng.IntN(12), 4000)
		per := []Period{Hour, Day}[seed%2]
		want := slowlyMerged(surveyOf(t, per, records), records)
		got, digests := compacted(t, per, shuffled(rng, records))
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d records, want %d of %d", seed, len(got), len(want), len(records))
		}
		for i := range got {
			if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
				t.Fatalf("seed %d, record %d:\n%+v, want\n%+v", seed, i, got[i], want[i])
			}
			merged += int(got[i].Merged)
		}
		again, others := compacted(t, per, shuffled(rng, records))
		if len(again) != len(got) || !slices.EqualFunc(digests, others, bytes.Equal) {
			t.Fatalf("seed %d: another order gave other digests", seed)
		}
		twice, second := compacted(t, per, got)
		if len(twice) != len(got) || !slices.EqualFunc(digests, second, bytes.Equal) {
			t.Fatalf("seed %d: compacting again made %d records of %d", seed, len(twice), len(got))
		}
	}
	if merged < 2000 {
		t.Errorf("only %d records were merged: the test tests little", merged)
	}
}

// What each kind of record needs to be merged.
func TestMayMerge(t *testing.T) {
	web := flow.Record{
		Has: flow.AllFields, Proto: flow.TCP, Action: flow.Accept, Status: flow.OK, FlowLogID: "fl-1", InterfaceID: "eni-1", InstanceID: "i-1",
		SrcPort: 40000, DstPort: 443, Start: 100, End: 150, Src: addrOf(t, "10.0.0.5"), Dst: addrOf(t, "198.51.100.7"),
	}
	with := func(change func(*flow.Record)) flow.Record {
		r := web
		r.PktSrc, r.PktDst = r.Src, r.Dst
		change(&r)
		return r
	}
	bare := func(src, dst string, sport, dport uint16) flow.Record {
		r := web
		r.InstanceID, r.Src, r.Dst, r.SrcPort, r.DstPort = "", addrOf(t, src), addrOf(t, dst), sport, dport
		return r
	}
	ftp := with(func(r *flow.Record) {
		r.DstPort, r.Dst, r.PktDst = 21, addrOf(t, "203.0.113.10"), addrOf(t, "203.0.113.10")
	})
	rejected := ftp
	rejected.Action = flow.Reject
	for name, c := range map[string]struct {
		before []flow.Record
		record flow.Record
		want   bool
	}{
		"plain":             {nil, with(func(*flow.Record) {}), true},
		"UDP":               {nil, with(func(r *flow.Record) { r.Proto = flow.UDP }), true},
		"ICMP":              {nil, with(func(r *flow.Record) { r.Proto = 1 }), false},
		"NODATA":            {nil, flow.Record{Status: flow.NoData, InterfaceID: "eni-1", Start: 100, End: 160}, true},
		"rejected":          {nil, with(func(r *flow.Record) { r.Action = flow.Reject }), false},
		"no action":         {nil, with(func(r *flow.Record) { r.Action = 0 }), false},
		"SYN":               {nil, with(func(r *flow.Record) { r.TCPFlags = flow.SYN }), false},
		"RST":               {nil, with(func(r *flow.Record) { r.TCPFlags = flow.RST }), false},
		"PSH":               {nil, with(func(r *flow.Record) { r.TCPFlags = 8 }), true},
		"too long":          {nil, with(func(r *flow.Record) { r.End = r.Start + 601 }), false},
		"ends first":        {nil, with(func(r *flow.Record) { r.End = r.Start - 1 }), false},
		"no time":           {nil, with(func(r *flow.Record) { r.Start, r.End = 0, 0 }), false},
		"control":           {nil, ftp, false},
		"FTP server":        {[]flow.Record{ftp}, with(func(r *flow.Record) { r.Dst, r.PktDst = ftp.Dst, ftp.Dst }), false},
		"near it":           {[]flow.Record{ftp}, with(func(r *flow.Record) { r.Dst = addrOf(t, "203.0.113.99") }), false},
		"its client":        {[]flow.Record{ftp}, with(func(*flow.Record) {}), true},
		"scanned only":      {[]flow.Record{rejected}, with(func(r *flow.Record) { r.Dst, r.PktDst = ftp.Dst, ftp.Dst }), true},
		"NAT by headers":    {[]flow.Record{with(func(r *flow.Record) { r.InstanceID, r.PktDst = "", addrOf(t, "198.51.100.1") })}, with(func(r *flow.Record) { r.InstanceID = "" }), false},
		"regional NAT":      {nil, with(func(r *flow.Record) { r.InterfaceID, r.InstanceID, r.ResourceID = "", "", "nat-1" }), false},
		"router":            {[]flow.Record{with(func(r *flow.Record) { r.PktDst = addrOf(t, "198.51.100.1") })}, with(func(*flow.Record) {}), true},
		"NAT by ports":      {[]flow.Record{bare("10.0.1.1", "10.0.0.5", 40000, 443), bare("10.0.0.5", "198.51.100.9", 2000, 443)}, bare("10.0.0.5", "198.51.100.7", 2000, 80), false},
		"NAT by answers":    {[]flow.Record{bare("10.0.0.5", "10.0.1.1", 80, 40000), bare("198.51.100.9", "10.0.0.5", 80, 5000)}, bare("10.0.0.5", "198.51.100.7", 2000, 443), false},
		"no NAT by ports":   {[]flow.Record{bare("10.0.1.1", "10.0.0.5", 40000, 80), bare("10.0.0.5", "198.51.100.9", 2000, 443)}, bare("10.0.0.5", "198.51.100.7", 2000, 443), true},
		"no own address":    {[]flow.Record{bare("10.0.1.1", "10.0.0.5", 40000, 80), bare("10.0.0.6", "198.51.100.9", 2000, 443)}, bare("10.0.0.7", "198.51.100.7", 2000, 443), false},
		"two flow logs":     {[]flow.Record{with(func(r *flow.Record) { r.FlowLogID = "fl-2" })}, with(func(*flow.Record) {}), false},
		"of another's logs": {[]flow.Record{with(func(r *flow.Record) { r.FlowLogID, r.InterfaceID = "fl-2", "eni-2" })}, with(func(*flow.Record) {}), true},
	} {
		s := surveyOf(t, Day, append(slices.Clone(c.before), c.record))
		if got := s.mayMerge(&c.record); got != c.want {
			t.Errorf("%s: may be merged is %v, want %v", name, got, c.want)
		}
	}
	s := NewSurvey(Day, 2121)
	if r := with(func(r *flow.Record) { r.DstPort = 2121 }); s.Read(streamOf([]flow.Record{r}), noTime) != nil || s.mayMerge(&r) {
		t.Error("a control port that was named makes no control connection")
	}
}

// What waits is the traffic of half an hour, however long the log is.
func TestCompactInBoundedMemory(t *testing.T) {
	records := func(yield func(*flow.Record, error) bool) {
		r := flow.Record{Has: flow.AllFields, Proto: flow.UDP, Action: flow.Accept, InterfaceID: "eni-1", InstanceID: "i-1"}
		for at := int64(compactBegin); at < compactBegin+86400; at++ {
			r.Start, r.End, r.SrcPort = at, at, uint16(at%5000)
			if !yield(&r, nil) {
				return
			}
		}
	}
	s := NewSurvey(Day)
	if err := s.Read(records, noTime); err != nil {
		t.Fatal(err)
	}
	n, most := 0, 0
	var c *compaction
	c = newCompaction(s, func(*slot) bool {
		n++
		most = max(most, len(c.slots)+len(c.seconds)+len(c.free)+len(c.threads)+len(c.spare))
		return true
	})
	for r := range records {
		c.add(r)
	}
	c.close()
	if n != 86400 || most > 4*(maxDisorder+mergeSpan) || len(c.threads) != 0 {
		t.Errorf("%d records came out, at most %d were held, %d threads are left", n, most, len(c.threads))
	}
}

// A record that comes too late goes into the digest that is at hand.
func TestCompactTakesWhatIsLate(t *testing.T) {
	on := func(end int64) flow.Record {
		return flow.Record{Proto: flow.UDP, Action: flow.Accept, InterfaceID: "eni-1", Start: end, End: end}
	}
	begin := Hour.Of(compactBegin) + 3600
	records := []flow.Record{on(begin), on(begin + 5000), on(begin - 100)}
	s := surveyOf(t, Hour, records)
	var got []string
	for part, err := range s.Compact(streamOf(records)) {
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range part.Records {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(part.Begin-begin, " ", r.End-begin))
		}
	}
	if want := []string{"0 0", "3600 -100", "3600 5000"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What cannot be read is told by the digest of its time, or by another one.
func TestCompactKeepsFaults(t *testing.T) {
	begin := Hour.Of(compactBegin)
	r := proper(flow.Record{Proto: flow.UDP, Action: flow.Accept, InterfaceID: "eni-1", Start: begin + 1, End: begin + 1})
	bad := func(at int64) error { return &flow.RecordError{Place: fmt.Sprint(at), Line: 3, Err: errors.New("no")} }
	timeOf := func(place string) int64 {
		var at int64
		_, err := fmt.Sscan(place, &at)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for name, c := range map[string]struct {
		records []flow.Record
		errs    []error
		want    string
	}{
		"its own":    {[]flow.Record{r}, []error{bad(begin + 60), bad(begin + 60)}, "[0: 2 0]"},
		"the next":   {[]flow.Record{r}, []error{bad(begin - 7200), &flow.ObjectError{Place: fmt.Sprint(begin), Err: errors.New("no")}}, "[0: 1 1]"},
		"the last":   {[]flow.Record{r}, []error{bad(begin + 7200)}, "[0: 1 0]"},
		"no records": {nil, []error{bad(begin), bad(begin + 3600)}, "[0: 1 0 3600: 1 0]"},
	} {
		stream := func(yield func(*flow.Record, error) bool) {
			for _, err := range c.errs {
				if !yield(nil, err) {
					return
				}
			}
			streamOf(c.records)(yield)
		}
		s := NewSurvey(Hour)
		if err := s.Read(stream, timeOf); err != nil {
			t.Fatal(err)
		}
		var got []string
		for part, err := range s.Compact(stream) {
			if err != nil {
				t.Fatal(err)
			}
			sum, err := s.Write(&bytes.Buffer{}, part, make([]Source, 1003), 4)
			if err != nil {
				t.Fatal(err)
			}
			n := int64(0)
			for _, b := range sum.Bad {
				n += b.Count
			}
			got = append(got, fmt.Sprintf("%d: %d %d", part.Begin-begin, n, len(sum.Broken)))
			if len(sum.Sources) != MaxSources || sum.MoreSources != 7 {
				t.Errorf("%s: %d sources are named, and %d more", name, len(sum.Sources), sum.MoreSources)
			}
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, want %s", name, got, c.want)
		}
	}
}

// A source that says more the second time is refused; other errors are passed
// on.
func TestCompactRefusesAnotherSource(t *testing.T) {
	r := proper(flow.Record{
		Proto: flow.TCP, Action: flow.Accept, InterfaceID: "eni-1", FlowLogID: "fl-1", Start: compactBegin, End: compactBegin,
		Src: addrOf(t, "10.0.0.5"), Dst: addrOf(t, "203.0.113.10"), DstPort: 443,
	})
	ftp, another, later := r, r, r
	ftp.DstPort = 21
	another.FlowLogID = "fl-2"
	later.End += 7200
	gone := errors.New("gone")
	for name, c := range map[string]struct {
		second iter.Seq2[*flow.Record, error]
		want   error
	}{
		"server":   {streamOf([]flow.Record{r, ftp}), ErrChanged},
		"flow log": {streamOf([]flow.Record{r, another}), ErrChanged},
		"period":   {streamOf([]flow.Record{r, later}), ErrChanged},
		"fault": {func(yield func(*flow.Record, error) bool) {
			yield(nil, &flow.RecordError{Err: gone})
		}, ErrChanged},
		"broken off": {func(yield func(*flow.Record, error) bool) { yield(nil, gone) }, gone},
		"the same":   {streamOf([]flow.Record{r}), nil},
	} {
		s := surveyOf(t, Hour, []flow.Record{r})
		var got error
		for part, err := range s.Compact(c.second) {
			if err == nil {
				_, err = s.Write(&bytes.Buffer{}, part, nil, 0)
			}
			if got = err; err != nil {
				break
			}
		}
		if !errors.Is(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// Row groups of a digest of hours hold five minutes each.
func TestCompactedRowGroups(t *testing.T) {
	d := newWriter(&bytes.Buffer{}, true)
	d.step = groupStep
	var groups []int
	for _, end := range []int64{900, 1000, 1199, 1200, 1000, 1500} {
		n := len(d.group)
		if err := d.add(&flow.Record{Has: flow.Fields(flow.FieldEnd), End: end}); err != nil {
			t.Fatal(err)
		}
		if len(d.group) <= n {
			groups = append(groups, n)
		}
	}
	if want := []int{3, 1, 1}; !slices.Equal(groups, want) {
		t.Errorf("row groups of %v records, want %v", groups, want)
	}
}

// What was merged is not written where nobody would know.
func TestWriteRefusesMergedUnasked(t *testing.T) {
	r := []flow.Record{{Merged: 1}}
	if _, err := Write(&bytes.Buffer{}, streamOf(r), Source{Place: "a.log"}); !errors.Is(err, errMerged) {
		t.Errorf("got %v, want %v", err, errMerged)
	}
	if sum, err := Write(&bytes.Buffer{}, streamOf(r), Source{Place: "a" + Suffix}); err != nil || sum.Records != 2 || sum.Rows != 1 || sum.Version != 2 {
		t.Errorf("got %+v, %v", sum, err)
	}
}
