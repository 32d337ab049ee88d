package rules

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// PortRange is the ports From to To, both included. A range with From above
// To holds no port.
type PortRange struct{ From, To uint16 }

// Len returns the number of ports in the range.
func (r PortRange) Len() int { return max(0, int(r.To)-int(r.From)+1) }

// String gives "1024-65535", or "21" for a single port.
func (r PortRange) String() string { return string(r.appendTo(nil)) }

func (r PortRange) appendTo(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(r.From), 10)
	if r.From != r.To {
		b = strconv.AppendUint(append(b, '-'), uint64(r.To), 10)
	}
	return b
}

func (r PortRange) contains(port uint16) bool { return r.From <= port && port <= r.To }

// PortSet is a set of ports. It is an immutable value: operations return new
// sets, and copies may share memory. The zero PortSet is empty.
type PortSet struct {
	r []PortRange // sorted, disjoint, not adjacent: one set has one form
}

// Ports returns the union of the given ranges.
func Ports(r ...PortRange) PortSet {
	sorted := slices.DeleteFunc(slices.Clone(r), func(x PortRange) bool { return x.From > x.To })
	slices.SortFunc(sorted, func(a, b PortRange) int { return cmp.Compare(a.From, b.From) })
	out := sorted[:0]
	for _, x := range sorted {
		if n := len(out); n > 0 && int(x.From) <= int(out[n-1].To)+1 {
			out[n-1].To = max(out[n-1].To, x.To)
			continue
		}
		out = append(out, x)
	}
	return PortSet{out}
}

// AllPorts returns the ports 0 to 65535.
func AllPorts() PortSet { return Ports(PortRange{0, 65535}) }

// Ranges returns the set as the fewest ranges, in ascending order. The slice
// is the caller's.
func (s PortSet) Ranges() []PortRange { return slices.Clone(s.r) }

// Len returns the number of ports in the set.
func (s PortSet) Len() int {
	n := 0
	for _, r := range s.r {
		n += r.Len()
	}
	return n
}

// IsEmpty reports whether the set holds no port.
func (s PortSet) IsEmpty() bool { return len(s.r) == 0 }

// Contains reports whether the set holds port.
func (s PortSet) Contains(port uint16) bool {
	i, found := slices.BinarySearchFunc(s.r, port, func(r PortRange, p uint16) int { return cmp.Compare(r.From, p) })
	return found || i > 0 && s.r[i-1].To >= port
}

// Min returns the lowest port of the set; 0 when it is empty.
func (s PortSet) Min() uint16 {
	if s.IsEmpty() {
		return 0
	}
	return s.r[0].From
}

// Max returns the highest port of the set; 0 when it is empty.
func (s PortSet) Max() uint16 {
	if s.IsEmpty() {
		return 0
	}
	return s.r[len(s.r)-1].To
}

// Union returns the ports in s, in t or in both.
func (s PortSet) Union(t PortSet) PortSet { return Ports(slices.Concat(s.r, t.r)...) }

// Intersect returns the ports in both s and t.
func (s PortSet) Intersect(t PortSet) PortSet {
	var out []PortRange
	for i, j := 0, 0; i < len(s.r) && j < len(t.r); {
		a, b := s.r[i], t.r[j]
		if from, to := max(a.From, b.From), min(a.To, b.To); from <= to {
			out = append(out, PortRange{from, to})
		}
		if a.To < b.To {
			i++
		} else {
			j++
		}
	}
	return PortSet{out}
}

// Subtract returns the ports in s that are not in t.
func (s PortSet) Subtract(t PortSet) PortSet { return s.Intersect(t.complement()) }

func (s PortSet) complement() PortSet {
	var out []PortRange
	next := 0 // the lowest port not looked at yet
	for _, r := range s.r {
		if int(r.From) > next {
			out = append(out, PortRange{uint16(next), r.From - 1})
		}
		next = int(r.To) + 1
	}
	if next <= 65535 {
		out = append(out, PortRange{uint16(next), 65535})
	}
	return PortSet{out}
}

// Equal reports whether s and t hold the same ports.
func (s PortSet) Equal(t PortSet) bool { return slices.Equal(s.r, t.r) }

// String gives the ranges joined by ";", as in "21;1024-65535"; the empty
// set gives "".
func (s PortSet) String() string {
	var b []byte
	for i, r := range s.r {
		if i > 0 {
			b = append(b, ';')
		}
		b = r.appendTo(b)
	}
	return string(b)
}

// ParsePorts reads what String writes. Ranges may come in any order, may
// overlap, and may also be separated by commas.
func ParsePorts(text string) (PortSet, error) {
	if strings.TrimSpace(text) == "" {
		return PortSet{}, nil
	}
	var ranges []PortRange
	for word := range strings.SplitSeq(strings.ReplaceAll(text, ",", ";"), ";") {
		r, err := parseRange(strings.TrimSpace(word))
		if err != nil {
			return PortSet{}, err
		}
		ranges = append(ranges, r)
	}
	return Ports(ranges...), nil
}

func parseRange(word string) (PortRange, error) {
	low, high, isRange := strings.Cut(word, "-")
	if !isRange {
		high = low
	}
	from, err := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	if err != nil {
		return PortRange{}, fmt.Errorf("%q is not a port or a range of ports", word)
	}
	to, err := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	if err != nil {
		return PortRange{}, fmt.Errorf("%q is not a port or a range of ports", word)
	}
	if from > to {
		return PortRange{}, fmt.Errorf("%q: the range ends before it begins", word)
	}
	return PortRange{uint16(from), uint16(to)}, nil
}

// PortBitmap collects ports one by one. It takes two bytes a port while
// there are few and never more than 8 KiB, so that one can be kept for every
// peer of every rule. The zero PortBitmap is empty and ready to use. Not
// safe for concurrent use.
type PortBitmap struct {
	sparse []uint16      // sorted; used until dense is
	dense  *[1024]uint64 // one bit a port
	n      int
}

// maxSparse is where the sorted slice gives way to the bitmap: a slice's
// capacity can be up to twice its length, and then equals the bitmap's size.
const maxSparse = 2048

// Add puts port into the bitmap and reports whether it was new.
func (b *PortBitmap) Add(port uint16) bool {
	if b.dense != nil {
		return b.addDense(port)
	}
	i, found := slices.BinarySearch(b.sparse, port)
	if found {
		return false
	}
	if len(b.sparse) == maxSparse {
		b.makeDense()
		return b.addDense(port)
	}
	b.sparse = slices.Insert(b.sparse, i, port)
	b.n++
	return true
}

// AddSet puts all ports of s into the bitmap.
func (b *PortBitmap) AddSet(s PortSet) {
	for _, r := range s.r {
		for port := int(r.From); port <= int(r.To); port++ {
			b.Add(uint16(port))
		}
	}
}

func (b *PortBitmap) addDense(port uint16) bool {
	word, bit := &b.dense[port/64], uint64(1)<<(port%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	b.n++
	return true
}

func (b *PortBitmap) makeDense() {
	b.dense = new([1024]uint64)
	for _, p := range b.sparse {
		b.dense[p/64] |= 1 << (p % 64)
	}
	b.sparse = nil
}

// Len returns the number of distinct ports added.
func (b *PortBitmap) Len() int { return b.n }

// Set returns the ports added so far.
func (b *PortBitmap) Set() PortSet {
	var s PortSet
	for _, p := range b.sparse {
		s.extend(p)
	}
	if b.dense == nil {
		return s
	}
	for i, word := range b.dense {
		for ; word != 0; word &= word - 1 {
			s.extend(uint16(i*64 + bits.TrailingZeros64(word)))
		}
	}
	return s
}

// extend adds a port above all those in s, in place.
func (s *PortSet) extend(port uint16) {
	if n := len(s.r); n > 0 && s.r[n-1].To+1 == port {
		s.r[n-1].To = port
		return
	}
	s.r = append(s.r, PortRange{port, port})
}
