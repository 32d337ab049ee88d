package rules

import (
	"fmt"
	"slices"
	"sort"
)

// maxRule is the highest rule number that an entry can have. The lowest is 1.
// Source: EC2 API Reference, CreateNetworkAclEntry, RuleNumber.
const maxRule = 32766

// firstRule is the number of the first entry where nothing speaks against it,
// as in the console and in the default network ACL.
const firstRule = 100

// Number gives the entries of one direction, which stand in the order of
// evaluation without the default deny, rule numbers that rise strictly. An
// entry whose RuleNumber is not 0 keeps it if it can; as few as possible get
// another. One with 0 is new and gets a free number behind its neighbour: a
// multiple of 10 where there is room, else of 5, else any. The first of all
// is 100 where there is room. The entries given are not changed.
//
// Number fails when there are more entries than numbers, and when one of
// them is the default deny.
func Number(entries []Entry) ([]Entry, error) {
	if len(entries) > maxRule {
		return nil, fmt.Errorf("%d entries in one direction: there are rule numbers for %d", len(entries), maxRule)
	}
	if slices.ContainsFunc(entries, Entry.IsDefault) {
		return nil, fmt.Errorf("the entry with rule number %d or %d ends every network ACL: leave it out", DefaultRule, DefaultRule6)
	}
	numbered := slices.Clone(entries)
	begin, below := 0, 0 // the first entry without number, and the number before it
	for _, kept := range append(keptNumbers(entries), len(entries)) {
		above := maxRule + 1
		if kept < len(entries) {
			above = entries[kept].RuleNumber
		}
		for i, n := range between(below, above, kept-begin) {
			numbered[begin+i].RuleNumber = n
		}
		begin, below = kept+1, above
	}
	return numbered, nil
}

// keptNumbers returns the places of a longest row of entries that can all
// keep their numbers; of several, the one that begins first. Two of them can
// when as many numbers lie between theirs as entries do: when number minus
// place does not fall. So the row is a longest one in which that never falls.
func keptNumbers(entries []Entry) []int {
	slack := func(place int) int { return entries[place].RuleNumber - place }
	lengths := make([]int, len(entries)) // of the longest row from each place on
	var starts []int                     // by length less one: the highest slack with which a row begins
	for i := range slices.Backward(entries) {
		if slack(i) < 1 || slack(i) > maxRule+1-len(entries) || entries[i].RuleNumber == 0 {
			continue // too low for those before it, or too high for those behind
		}
		length := sort.Search(len(starts), func(l int) bool { return starts[l] < slack(i) })
		if length == len(starts) {
			starts = append(starts, 0)
		}
		starts[length] = slack(i)
		lengths[i] = length + 1
	}
	var row []int
	for i, length := range lengths {
		if length > 0 && length == len(starts)-len(row) && (len(row) == 0 || slack(row[len(row)-1]) <= slack(i)) {
			row = append(row, i)
		}
	}
	return row
}

// between returns n rising numbers above low and below high, where there are
// that many.
func between(low, high, n int) []int {
	first, step := low+1, 1
	for _, s := range []int{10, 5} {
		if round := (low/s + 1) * s; round+(n-1)*s < high {
			first, step = round, s
			break
		}
	}
	if low == 0 && firstRule+(n-1)*10 < high {
		first, step = firstRule, 10
	}
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = first + i*step
	}
	return numbers
}
