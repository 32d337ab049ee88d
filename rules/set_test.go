package rules

import (
	"math/rand/v2"
	"testing"
)

// bitmap is the slow and obvious set of ports.
type bitmap [65536]bool

func (b *bitmap) set() PortSet {
	var ranges []PortRange
	for p, in := range b {
		if in {
			ranges = append(ranges, PortRange{uint16(p), uint16(p)})
		}
	}
	return Ports(ranges...)
}

func combine(a, b *bitmap, f func(a, b bool) bool) *bitmap {
	var c bitmap
	for p := range c {
		c[p] = f(a[p], b[p])
	}
	return &c
}

// randomRanges favours the ends of the port space, short ranges and
// neighbours, where the mistakes are.
func randomRanges(rng *rand.Rand) []PortRange {
	ranges := make([]PortRange, rng.IntN(8))
	for i := range ranges {
		ranges[i] = randomRange(rng)
	}
	return ranges
}

func randomRange(rng *rand.Rand) PortRange {
	from := rng.IntN(65536)
	switch rng.IntN(4) {
	case 0:
		from = rng.IntN(20)
	case 1:
		from = 65535 - rng.IntN(20)
	}
	to := min(from+rng.IntN(12), 65535)
	if rng.IntN(3) == 0 {
		to = from + rng.IntN(65536-from)
	}
	return PortRange{uint16(from), uint16(to)}
}

func TestPortSetAgainstBitmap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 25 {
		var a, b bitmap
		ra, rb := randomRanges(rng), randomRanges(rng)
		mark(&a, ra)
		mark(&b, rb)
		s, u := Ports(ra...), Ports(rb...)
		checkSet(t, "Ports", s, &a)
		checkSet(t, "Union", s.Union(u), combine(&a, &b, func(a, b bool) bool { return a || b }))
		checkSet(t, "Intersect", s.Intersect(u), combine(&a, &b, func(a, b bool) bool { return a && b }))
		checkSet(t, "Subtract", s.Subtract(u), combine(&a, &b, func(a, b bool) bool { return a && !b }))
		checkSet(t, "a after the operations", s, &a)
		if got, want := s.Equal(u), a == b; got != want {
			t.Errorf("%v equals %v: got %v, want %v", s, u, got, want)
		}
	}
}

func mark(b *bitmap, ranges []PortRange) {
	for _, r := range ranges {
		for p := int(r.From); p <= int(r.To); p++ {
			b[p] = true
		}
	}
}

func checkSet(t *testing.T, what string, got PortSet, want *bitmap) {
	t.Helper()
	n, low, high := 0, 0, 0
	for p, in := range want {
		if got.Contains(uint16(p)) != in {
			t.Fatalf("%s: %v contains %d: got %v, want %v", what, got, p, !in, in)
		}
		if in {
			if n == 0 {
				low = p
			}
			n, high = n+1, p
		}
	}
	if got.Len() != n || int(got.Min()) != low || int(got.Max()) != high || got.IsEmpty() != (n == 0) {
		t.Fatalf("%s: %v has Len %d, Min %d, Max %d, IsEmpty %v; want %d, %d, %d, %v",
			what, got, got.Len(), got.Min(), got.Max(), got.IsEmpty(), n, low, high, n == 0)
	}
	if one := want.set(); !got.Equal(one) {
		t.Fatalf("%s: got %v, want the only form %v", what, got, one)
	}
	parsed, err := ParsePorts(got.String())
	if err != nil || !parsed.Equal(got) {
		t.Fatalf("%s: %q parses as %v, %v", what, got, parsed, err)
	}
}

func TestPortSetIsAValue(t *testing.T) {
	s := Ports(PortRange{1, 2}, PortRange{10, 20})
	s.Ranges()[0] = PortRange{5, 6}
	u := s.Union(Ports(PortRange{30, 40}))
	u.Ranges()[0] = PortRange{7, 8}
	if got, want := s.String(), "1-2;10-20"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPortRangeInverted(t *testing.T) {
	if r := (PortRange{5, 3}); r.Len() != 0 || !Ports(r).IsEmpty() || r.contains(4) {
		t.Errorf("%v: got %d ports in %v, want none", r, r.Len(), Ports(r))
	}
}

func TestParsePorts(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{" ", ""},
		{"21", "21"},
		{"0", "0"},
		{"21,990", "21;990"},
		{"990;21", "21;990"},
		{" 1024 - 65535 ; 21 ", "21;1024-65535"},
		{"1-5;6-9;8", "1-9"},
		{"0-65535", "0-65535"},
	} {
		got, err := ParsePorts(c.text)
		if err != nil || got.String() != c.want {
			t.Errorf("%q: got %q, %v, want %q", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"x", "-1", "65536", "5-3", "1;", "1--2", "1-2-3", "+5"} {
		if got, err := ParsePorts(text); err == nil || !got.IsEmpty() {
			t.Errorf("%q: got %q, %v, want an error", text, got, err)
		}
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, text := range []string{"", "21;1024-65535", "990,21", "5-3", "65535-65536", "1-2-3"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParsePorts(text)
		if err != nil {
			if !s.IsEmpty() {
				t.Fatalf("%q: an error and %v", text, s)
			}
			return
		}
		again, err := ParsePorts(s.String())
		if err != nil || !again.Equal(s) {
			t.Fatalf("%q gives %q, and that %q, %v", text, s, again, err)
		}
	})
}

func TestPortBitmap(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, adds := range []int{0, 1, 100, maxSparse, maxSparse + 1, 20000, 200000} {
		var got PortBitmap
		var want bitmap
		distinct := 0
		for range adds {
			p := uint16(rng.IntN(65536))
			isNew := !want[p]
			if got.Add(p) != isNew {
				t.Fatalf("adding %d: new is %v, want %v", p, !isNew, isNew)
			}
			if isNew {
				want[p] = true
				distinct++
			}
		}
		if got.Len() != distinct || !got.Set().Equal(want.set()) {
			t.Errorf("%d adds: got %d ports in %v, want %d in %v", adds, got.Len(), got.Set(), distinct, want.set())
		}
		if size := cap(got.sparse) * 2; size > 8192 {
			t.Errorf("%d adds: the sparse form takes %d bytes, want at most 8192", adds, size)
		}
	}
}

func TestPortBitmapWholeRange(t *testing.T) {
	var b PortBitmap
	for p := 65535; p >= 0; p-- {
		b.Add(uint16(p))
	}
	if got := b.Set(); !got.Equal(AllPorts()) {
		t.Errorf("got %v, want %v", got, AllPorts())
	}
}

func TestPortBitmapAddSet(t *testing.T) {
	var b PortBitmap
	b.Add(7)
	for _, ports := range []string{"1-9;21", "", "20-30;65535", "0"} {
		s, err := ParsePorts(ports)
		if err != nil {
			t.Fatal(err)
		}
		want := b.Set().Union(s)
		if b.AddSet(s); !b.Set().Equal(want) || b.Len() != want.Len() {
			t.Errorf("with %q: got %s, want %s", ports, b.Set(), want)
		}
	}
}

func BenchmarkPortBitmap(b *testing.B) {
	for name, ports := range map[string]int{"sparse": 1000, "dense": 65536} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			rng := rand.New(rand.NewPCG(5, 6))
			var m PortBitmap
			for b.Loop() {
				m.Add(uint16(rng.IntN(ports)))
			}
		})
	}
}
