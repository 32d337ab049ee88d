package analyze

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

func randomSighting(rng *rand.Rand, ifaces []*Interface) sighting {
	l := randomLeg(rng, ifaces)
	s := sighting{iface: l.Interface, tuple: l.Header, window: l.windows[0]}
	fill(rng, reflect.ValueOf(&s.header.src).Elem())
	fill(rng, reflect.ValueOf(&s.header.dst).Elem())
	return s
}

func randomParked(rng *rand.Rand, ifaces []*Interface) parkedGroup {
	l := randomLeg(rng, ifaces)
	p := parkedGroup{iface: l.Interface, tuple: l.Header, windows: l.windows, accepted: rng.IntN(2) == 0}
	for range rng.IntN(3) {
		p.headers = append(p.headers, randomSighting(rng, ifaces).header)
	}
	for i := range p.windows {
		p.windows[i].header = int32(rng.IntN(1+len(p.headers))) - 1
	}
	return p
}

// Sightings and parked groups come back as they were: by the end of a
// sighting, else as they came.
func TestSpilledComesBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 1))
	list, byID := someInterfaces()
	s := &spill{ifaces: byID}
	spilledComesBack(t, func() sighting { return randomSighting(rng, list) }, s.sighting,
		func(a, b sighting) int { return cmp.Compare(a.window.end, b.window.end) })
	spilledComesBack(t, func() parkedGroup { return randomParked(rng, list) }, s.group,
		func(a, b parkedGroup) int { return 0 })
}

func spilledComesBack[T any](t *testing.T, random func() T, code codec[T], compare func(a, b T) int) {
	t.Helper()
	s := newSorter(func(a, b T) int { return 0 }, code, 30)
	defer s.close()
	want := make([]T, 500)
	for i := range want {
		want[i] = random()
		s.add(want[i])
	}
	slices.SortStableFunc(want, compare)
	got := slices.Collect(s.all())
	if s.err != nil || len(got) != len(want) {
		t.Fatalf("got %d of %T (%v), want %d", len(got), want, s.err, len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("number %d: got\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
}

// What is cut off, or names an interface or header addresses that there are
// not, gives an error.
func TestDamagedSpill(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 2))
	list, byID := someInterfaces()
	for range 50 {
		s, p := randomSighting(rng, list), randomParked(rng, list)
		damaged(t, s, (&spill{ifaces: byID}).sighting)
		damaged(t, p, (&spill{ifaces: byID}).group)
		p.windows[0].header = int32(len(p.headers))
		whole(t, p, (&spill{ifaces: byID}).group, &names{}, errDamaged)
		delete(byID, s.iface.ID)
		whole(t, s, (&spill{ifaces: byID}).sighting, &names{}, errDamaged)
		byID[s.iface.ID] = s.iface
	}
}

// damaged reads the bytes of a value, and the beginnings of them.
func damaged[T any](t *testing.T, v T, code codec[T]) {
	t.Helper()
	known := &names{}
	b := whole(t, v, code, known, nil)
	for n := range b {
		if err := read(b[:n], code, known); !errors.Is(err, errDamaged) {
			t.Fatalf("%d of %d bytes of %+v: got the error %v", n, len(b), v, err)
		}
	}
}

// whole reads all bytes of a value, and returns them.
func whole[T any](t *testing.T, v T, code codec[T], known *names, want error) []byte {
	t.Helper()
	b := written(func(c *coder) { code(c, &v) }, known)
	if err := read(b, code, known); !errors.Is(err, want) {
		t.Fatalf("%+v: got the error %v, want %v", v, err, want)
	}
	return b
}

func read[T any](b []byte, code codec[T], known *names) error {
	c := &coder{b: b, reading: true, names: known}
	code(c, new(T))
	return c.err
}
