package rules

import (
	"slices"
)

// Cover returns the smallest set of ports that contains s and consists of at
// most k ranges. It leaves the k-1 widest gaps of s open and closes the
// others, which is optimal: every range beyond the first saves exactly the
// ports of one gap. Among gaps of equal width the one at the lower port is
// left open. A k below 1 counts as 1; the cover of the empty set is empty.
func Cover(s PortSet, k int) PortSet {
	if s.IsEmpty() {
		return s
	}
	open := widestGaps(s)
	open = open[:min(max(k, 1)-1, len(open))]
	return Ports(PortRange{s.Min(), s.Max()}).Subtract(Ports(open...))
}

// CoverPoint says how many ports a cover exposes with a number of entries.
type CoverPoint struct{ Entries, Exposed int }

// CoverCurve returns the price of Cover(s, k) for k from 1 to maxK. It ends
// early where further entries save nothing, and is empty for the empty set.
func CoverCurve(s PortSet, maxK int) []CoverPoint {
	if s.IsEmpty() || maxK < 1 {
		return nil
	}
	exposed := PortRange{s.Min(), s.Max()}.Len()
	curve := []CoverPoint{{1, exposed}}
	for i, gap := range widestGaps(s) {
		if i+2 > maxK {
			break
		}
		exposed -= gap.Len()
		curve = append(curve, CoverPoint{i + 2, exposed})
	}
	return curve
}

// widestGaps returns the ranges between those of s, widest first and then by
// port.
func widestGaps(s PortSet) []PortRange {
	if len(s.r) < 2 {
		return nil
	}
	// As numbers they sort five times as fast as by a function.
	packed := make([]uint64, len(s.r)-1)
	for i := range packed {
		gap := PortRange{s.r[i].To + 1, s.r[i+1].From - 1}
		packed[i] = uint64(1<<16-gap.Len())<<32 | uint64(gap.From)<<16 | uint64(gap.To)
	}
	slices.Sort(packed)
	gaps := make([]PortRange, len(packed))
	for i, p := range packed {
		gaps[i] = PortRange{uint16(p >> 16), uint16(p)}
	}
	return gaps
}
