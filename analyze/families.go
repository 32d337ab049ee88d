package analyze

// families tells which legs have the header five-tuple of a leg, whichever
// way round: what several interfaces saw of one connection, or of several
// that used the same ports. It serves for many sets of legs, one after the
// other, without being made anew.
type families struct {
	legs []*Leg
	// first is the first leg of each leg's family, next the one after it; 0
	// when there is none, which is never the next.
	first, next []int32
	last        []int32 // of the family, at its first leg
	slots       []familySlot
}

// familySlot holds a part of the hash beside the number of the family's first
// leg, plus 1; 0 when it is not taken.
type familySlot struct{ hash, first uint32 }

// of makes the families of legs, which it numbers.
func (f *families) of(legs []*Leg) {
	n := len(legs)
	f.legs = legs
	f.first, f.next, f.last = resized(f.first, n), resized(f.next, n), resized(f.last, n)
	size := 1024
	for size < 2*n {
		size *= 2
	}
	f.slots = resized(f.slots, size)
	for i, l := range legs {
		l.number = int32(i)
		f.put(int32(i), l)
	}
}

// resized returns a slice of n zeroes, in the place of s where that has room.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	s = s[:n]
	clear(s)
	return s
}

func (f *families) put(i int32, l *Leg) {
	h := l.Header.TableHashEitherWay(tableSeed)
	mask := uint64(len(f.slots) - 1)
	s := &f.slots[h&mask]
	for ; s.first != 0; s = &f.slots[h&mask] {
		if uint64(s.hash) == h>>32 && l.sameHosts(f.legs[s.first-1]) {
			first := int32(s.first - 1)
			f.first[i] = first
			f.next[f.last[first]] = i
			f.last[first] = i
			return
		}
		h = h&^mask | (h+1)&mask
	}
	*s = familySlot{uint32(h >> 32), uint32(i) + 1}
	f.first[i], f.last[i] = i, i
}

// sameHosts reports whether two legs have one header five-tuple, whichever
// way round.
func (l *Leg) sameHosts(m *Leg) bool { return l.Header == m.Header || l.Header == m.Header.Reverse() }

// alone reports whether the leg has its header five-tuple for itself.
func (f *families) alone(l *Leg) bool {
	first := f.first[l.number]
	return f.last[first] == first
}

// begins reports whether the leg is the first one of its family.
func (f *families) begins(l *Leg) bool { return f.first[l.number] == l.number }

// each calls visit for the legs of l's family, l among them, in their order.
func (f *families) each(l *Leg, visit func(*Leg)) {
	for i := f.first[l.number]; ; {
		visit(f.legs[i])
		if i = f.next[i]; i == 0 {
			return
		}
	}
}
