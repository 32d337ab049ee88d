package analyze

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// fill sets the fields of a row to anything. Values come from few, so that
// rows have much in common.
func fill(rng *rand.Rand, v reflect.Value) {
	texts := []string{"", "a", "a\x00", "a\x00\x00", "a\x00\xff", "ab", "\x00", "eni-0a", "eni-0b", "passive", "active", "\xff", strings.Repeat("long ", 40)}
	addrs := []string{"0.0.0.0", "10.0.0.1", "10.0.1.0", "255.255.255.255", "::1", "::fffe:0:1", "::1:ffff:0:0", "0:0:0:1::", "2001:db8::1", "ffff::"}
	switch p := v.Addr().Interface().(type) {
	case *flow.Addr:
		if *p = (flow.Addr{}); rng.IntN(8) > 0 {
			*p = flow.AddrFrom(netip.MustParseAddr(addrs[rng.IntN(len(addrs))]))
		}
		return
	case *Point:
		*p = Point(rng.IntN(int(P6) + 1))
		return
	case *flow.Direction:
		*p = flow.Direction(rng.IntN(int(flow.Egress) + 1))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rng, v.Field(i))
		}
	case reflect.Slice:
		if n := rng.IntN(3); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.String:
		v.SetString(texts[rng.IntN(len(texts))])
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{0, 1, 2, 1_795_370_837, -1, math.MinInt64, math.MaxInt64, math.MaxUint32, math.MaxUint32 + 1}[rng.IntN(9)])
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint([]uint64{0, 1, 21, 300, math.MaxUint64}[rng.IntN(5)] & (1<<v.Type().Bits() - 1))
	case reflect.Float64:
		v.SetFloat([]float64{0, 1, 0.99, -0.1, math.Inf(1)}[rng.IntN(5)])
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	}
}

// Rows come back as they were, in the order of compare, whether the key
// decides or what is behind it.
func TestRowsComeBack(t *testing.T) {
	comeBack(t, compareSessions)
	comeBack(t, compareData)
	comeBack(t, compareMappings)
	comeBack(t, compareRejects)
	comeBack(t, compareChanged)
}

func comeBack[T any, P coded[T]](t *testing.T, compare func(a, b T) int) {
	rng := rand.New(rand.NewPCG(6, 1))
	for _, limit := range []int{1, 3, 100, heldRows} {
		r := newRows[T, P](compare, limit)
		want := make([]T, 600)
		for i := range want {
			fill(rng, reflect.ValueOf(&want[i]).Elem())
			r.add(want[i])
		}
		slices.SortStableFunc(want, compare)
		for range 2 {
			got := slices.Collect(r.All())
			if r.Err() != nil || len(got) != len(want) {
				t.Fatalf("%T, %d held: got %d rows (%v), want %d", want, limit, len(got), r.Err(), len(want))
			}
			for i := range want {
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Fatalf("%d held, row %d: got\n%+v, want\n%+v", limit, i, got[i], want[i])
				}
			}
		}
		r.close()
	}
}

// randomConnection makes a connection as an analysis has it.
func randomConnection(rng *rand.Rand, ifaces []*Interface) *Connection {
	c := &Connection{Mapping: rng.Float64(), Unsolicited: rng.IntN(2) == 0, Start: rng.Int64N(5), End: rng.Int64N(5)}
	fill(rng, reflect.ValueOf(&c.Tuple).Elem())
	legs := []**Leg{&c.Client, &c.Inside, &c.Outside, &c.Server}
	for i, present := range rng.Perm(4) {
		if i == 0 || rng.IntN(2) == 0 {
			*legs[present] = randomLeg(rng, ifaces)
		}
	}
	for range rng.IntN(3) {
		c.Others = append(c.Others, randomLeg(rng, ifaces))
	}
	return c
}

func randomLeg(rng *rand.Rand, ifaces []*Interface) *Leg {
	l := &Leg{Interface: ifaces[rng.IntN(len(ifaces))], HasHeader: rng.IntN(2) == 0, Initiator: InitiatorEvidence(rng.IntN(int(ByNothing) + 1))}
	fill(rng, reflect.ValueOf(&l.Header).Elem())
	fill(rng, reflect.ValueOf(&l.Seen).Elem())
	start := rng.Int64N(2_000_000_000)
	for range 1 + rng.IntN(4) {
		l.windows = append(l.windows, window{
			start: start, end: start + rng.Int64N(60), packets: rng.Uint64() >> rng.IntN(64), bytes: rng.Uint64() >> rng.IntN(64), log: rng.Uint32() * rng.Uint32N(2),
			header: int32(rng.IntN(4)) - 1, forward: rng.IntN(2) == 0, hasFlags: rng.IntN(2) == 0, flags: flow.TCPFlags(rng.Uint32()),
			action: flow.Action(rng.IntN(3)), reason: rejectReason(rng.IntN(3)),
		})
		start += rng.Int64N(100) - 20
	}
	l.sum()
	l.FromInitiator.Direction = flow.Direction(rng.IntN(3))
	l.FromResponder.Direction = l.FromInitiator.Direction.Reverse()
	return l
}

func someInterfaces() (list []*Interface, byID map[string]*Interface) {
	byID = map[string]*Interface{}
	for i := range 5 {
		byID[fmt.Sprint("eni-", i)] = &Interface{ID: fmt.Sprint("eni-", i), own: map[flow.Addr]bool{flow.AddrFrom4(uint32(i)): true}}
	}
	for _, id := range sortedKeys(byID) {
		list = append(list, byID[id])
	}
	return list, byID
}

func TestConnectionsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 2))
	list, byID := someInterfaces()
	for _, limit := range []int{1, 10, heldConnections} {
		s := newSorter(compareConnections, connectionCodec(byID), limit)
		want := make([]*Connection, 1000)
		for i := range want {
			want[i] = randomConnection(rng, list)
			s.add(want[i])
		}
		slices.SortStableFunc(want, compareConnections)
		got := slices.Collect(s.all())
		if s.err != nil || len(got) != len(want) {
			t.Fatalf("%d held: got %d connections (%v), want %d", limit, len(got), s.err, len(want))
		}
		for i := range want {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("%d held, connection %d: got\n%+v, want\n%+v", limit, i, got[i], want[i])
			}
		}
		s.close()
	}
}

// Whatever byte of the file is another one, reading tells.
func TestDamagedFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 3))
	r := newRows(compareMappings, 10)
	defer r.close()
	for range 45 {
		var m Mapping
		fill(rng, reflect.ValueOf(&m).Elem())
		r.add(m)
	}
	s := r.sorter
	var b [1]byte
	for at := range s.size {
		if _, err := s.file.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		if _, err := s.file.WriteAt([]byte{b[0] ^ byte(1+rng.IntN(255))}, at); err != nil {
			t.Fatal(err)
		}
		s.err = nil
		if n := len(slices.Collect(r.All())); !errors.Is(r.Err(), errDamaged) {
			t.Errorf("byte %d is damaged: got %d rows and the error %v, want %v", at, n, r.Err(), errDamaged)
		}
		if _, err := s.file.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
	s.err = nil
	if n := len(slices.Collect(r.All())); n != 45 || r.Err() != nil {
		t.Errorf("nothing is damaged: got %d rows, %v", n, r.Err())
	}
	if err := s.file.Truncate(s.size - 1); err != nil {
		t.Fatal(err)
	}
	if n := len(slices.Collect(r.All())); !errors.Is(r.Err(), errDamaged) {
		t.Errorf("the file is cut: got %d rows and the error %v, want %v", n, r.Err(), errDamaged)
	}
}

// More names than there is room for are written out.
func TestManyNames(t *testing.T) {
	r := newRows(compareMappings, 100)
	defer r.close()
	name := func(i int) string { return fmt.Sprintf("eni-%d%s", i, strings.Repeat("x", i%200)) }
	const n = 2 * maxNames
	for i := range n {
		r.add(Mapping{Start: Time(i), ClientInterface: name(i), NATInterface: name(i / 2)})
	}
	i := 0
	for m := range r.All() {
		if m.ClientInterface != name(i) || m.NATInterface != name(i/2) {
			t.Fatalf("row %d: got %q and %q", i, m.ClientInterface, m.NATInterface)
		}
		i++
	}
	names := r.sorter.names
	if i != n || r.Err() != nil || len(names.list) > maxNames || names.size > maxNameBytes {
		t.Errorf("got %d rows (%v), %d names of %d bytes", i, r.Err(), len(names.list), names.size)
	}
}

// A row takes no allocation to be added, and one for each text to be read
// that is no name.
func TestSorterAllocations(t *testing.T) {
	r := newRows(compareRejects, heldRows)
	defer r.close()
	row := RejectedFlow{InterfaceID: "eni-1", Cause: CauseNACL, CauseID: "acl-1", Evidence: "a text that comes again and again"}
	for range heldRows / 2 { // what it holds has grown
		r.add(row)
	}
	r.sorter.held, r.sorter.writer.b, r.sorter.n = r.sorter.held[:0], r.sorter.writer.b[:0], 0
	if got := testing.AllocsPerRun(1000, func() { r.add(row) }); got != 0 {
		t.Errorf("adding a row takes %v allocations, want 0", got)
	}
	got := testing.AllocsPerRun(10, func() {
		for range r.All() {
		}
	})
	if n := r.Len(); got > 50 {
		t.Errorf("reading %d rows takes %v allocations, want a few in all", n, got)
	}
}

// Bytes that no coder wrote give an error or a value, which is then the same
// when it is written and read again.
func FuzzCoder(f *testing.F) {
	rng := rand.New(rand.NewPCG(6, 4))
	list, byID := someInterfaces()
	known := &names{}
	known.number("")
	for _, i := range list {
		known.number(i.ID)
	}
	// A spill of its own for every pass, or what is written again has other numbers.
	sighting := func(v *sighting, c *coder) { (&spill{ifaces: byID}).sighting(c, v) }
	group := func(v *parkedGroup, c *coder) { (&spill{ifaces: byID}).group(c, v) }
	kinds := []func(*testing.T, []byte){
		fixedPoint((*Session).code, known), fixedPoint((*DataConnection).code, known), fixedPoint((*Mapping).code, known),
		fixedPoint((*RejectedFlow).code, known), fixedPoint((*ChangedFlow).code, known),
		fixedPoint(func(v **Connection, c *coder) { connectionCodec(byID)(c, v) }, known),
		fixedPoint(sighting, known), fixedPoint(group, known),
	}
	for range 10 {
		var m Mapping
		var r RejectedFlow
		fill(rng, reflect.ValueOf(&m).Elem())
		fill(rng, reflect.ValueOf(&r).Elem())
		c := randomConnection(rng, list)
		f.Add(uint8(2), written(func(c *coder) { m.code(c) }, known))
		f.Add(uint8(3), written(func(c *coder) { r.code(c) }, known))
		f.Add(uint8(5), written(func(w *coder) { connectionCodec(byID)(w, &c) }, known))
		s, p := randomSighting(rng, list), randomParked(rng, list)
		f.Add(uint8(6), written(func(c *coder) { sighting(&s, c) }, known))
		f.Add(uint8(7), written(func(c *coder) { group(&p, c) }, known))
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) { kinds[int(kind)%len(kinds)](t, b) })
}

func written(code func(*coder), known *names) []byte {
	c := &coder{names: known}
	code(c)
	return c.b
}

func fixedPoint[T any](code func(*T, *coder), known *names) func(*testing.T, []byte) {
	return func(t *testing.T, b []byte) {
		v := new(T)
		c := &coder{b: b, reading: true, names: known}
		if code(v, c); c.err != nil {
			return
		}
		first := written(func(c *coder) { code(v, c) }, known)
		again := new(T)
		c = &coder{b: first, reading: true, names: known}
		if code(again, c); c.err != nil || len(c.b) > 0 {
			t.Fatalf("what was written does not come back: %v, %d bytes are left", c.err, len(c.b))
		}
		if second := written(func(c *coder) { code(again, c) }, known); !bytes.Equal(first, second) {
			t.Fatalf("written again, it is\n%x, was\n%x", second, first)
		}
	}
}

// FuzzRun reads any bytes as a run.
func FuzzRun(f *testing.F) {
	f.Add([]byte{}, 1, 10)
	f.Add([]byte{2, 1, 7, 7}, 1, 4)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1}, 2, 100)
	f.Fuzz(func(t *testing.T, b []byte, n, longest int) {
		r := &runReader{file: bytes.NewReader(b), run: run{size: int64(len(b)), n: n, longest: min(longest, len(b))}}
		var p packed
		total := 0
		for r.next(&p) == nil {
			if total += len(p.b); total > len(b) || p.key > len(p.b) {
				t.Fatalf("%d bytes give %d, with a key of %d", len(b), total, p.key)
			}
		}
		if cap(r.buffer) > 2*cmp.Or(max(runBuffer, len(b)), 1) {
			t.Fatalf("%d bytes take a buffer of %d", len(b), cap(r.buffer))
		}
	})
}
