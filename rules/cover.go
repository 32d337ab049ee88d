package rules

import (
	"cmp"
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
	var gaps []PortRange
	for i := 1; i < len(s.r); i++ {
		gaps = append(gaps, PortRange{s.r[i-1].To + 1, s.r[i].From - 1})
	}
	slices.SortStableFunc(gaps, func(a, b PortRange) int { return cmp.Compare(b.Len(), a.Len()) })
	return gaps
}
