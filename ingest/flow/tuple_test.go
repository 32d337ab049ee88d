package flow

import "testing"

// The hash picks the same connections in every run, on every machine: its
// values never change.
func TestTupleHash(t *testing.T) {
	tuple := func(src, dst string, sport, dport uint16) Tuple {
		a, errA := ParseAddr(src)
		b, errB := ParseAddr(dst)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		return Tuple{Src: a, Dst: b, SrcPort: sport, DstPort: dport, Proto: TCP}
	}
	first := tuple("10.0.1.5", "203.0.113.10", 40000, 21)
	if got, want := first.Hash(), uint64(0x10837ac585a1c386); got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
	seen := map[uint64]Tuple{}
	for port := range uint16(1000) {
		for _, x := range []Tuple{
			tuple("10.0.1.5", "203.0.113.10", port, 21), tuple("203.0.113.10", "10.0.1.5", port, 21),
			tuple("10.0.1.6", "203.0.113.10", port, 21), tuple("2001:db8::1", "2001:db8::2", port, 21),
		} {
			if y, ok := seen[x.Hash()]; ok {
				t.Fatalf("%s and %s have one hash", x, y)
			}
			seen[x.Hash()] = x
		}
	}
}
