package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// numbersOf reads rule numbers: "100 0 110".
func numbersOf(t *testing.T, text string) []Entry {
	t.Helper()
	var entries []Entry
	for word := range strings.FieldsSeq(text) {
		var e Entry
		if _, err := fmt.Sscan(word, &e.RuleNumber); err != nil {
			t.Fatal(err)
		}
		e.Ports.From = uint16(len(entries)) // tells the entries apart
		entries = append(entries, e)
	}
	return entries
}

func showNumbers(entries []Entry) string {
	var words []string
	for _, e := range entries {
		words = append(words, fmt.Sprint(e.RuleNumber))
	}
	return strings.Join(words, " ")
}

func TestNumber(t *testing.T) {
	for _, c := range []struct{ entries, want string }{
		{"", ""},
		{"0", "100"},
		{"0 0 0", "100 110 120"},
		{"100 200", "100 200"},
		{"100 0", "100 110"},
		{"101 0", "101 110"},
		{"100 0 200", "100 110 200"},
		{"100 0 0 120", "100 105 110 120"},
		{"100 0 0 115", "100 105 110 115"},
		{"100 0 110", "100 105 110"},
		{"100 0 0 110", "100 101 102 110"},
		{"100 0 102", "100 101 102"},
		{"0 200", "100 200"},
		{"0 100", "10 100"},
		{"0 0 5", "1 2 5"},
		{"0 1", "100 110"}, // no room before 1, so it moves
		{"100 0 101", "100 110 120"},
		{"100 0 101 300", "100 110 120 300"},
		{"100 101 0 102 103", "100 101 110 120 130"},
		{"200 100", "200 210"},
		{"300 100 200", "10 100 200"},
		{"100 100", "100 110"},
		{"32766 0", "100 110"},
		{"32760 0", "32760 32765"},
		{"32765 0", "32765 32766"},
		{"-5 40000", "100 110"},
	} {
		got, err := Number(numbersOf(t, c.entries))
		if err != nil || showNumbers(got) != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.entries, showNumbers(got), err, c.want)
		}
	}
}

func TestNumberErrors(t *testing.T) {
	if got, err := Number(make([]Entry, maxRule)); err != nil || got[0].RuleNumber != 1 || got[maxRule-1].RuleNumber != maxRule {
		t.Errorf("as many entries as numbers: %v", err)
	}
	for _, c := range []struct {
		entries []Entry
		want    string
	}{
		{make([]Entry, maxRule+1), "32767 entries in one direction: there are rule numbers for 32766"},
		{[]Entry{{RuleNumber: DefaultRule}}, "leave it out"},
		{[]Entry{{RuleNumber: 100}, {RuleNumber: DefaultRule6}}, "leave it out"},
	} {
		if got, err := Number(c.entries); err == nil || got != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
}

// mostKept tries every choice of entries that keep their numbers.
func mostKept(entries []Entry) int {
	most := 0
	for kept := range 1 << len(entries) {
		n, last, lastAt, fits := 0, 0, -1, true
		for i, e := range entries {
			if kept>>i&1 == 0 {
				continue
			}
			fits = fits && e.RuleNumber > 0 && e.RuleNumber-last >= i-lastAt
			n, last, lastAt = n+1, e.RuleNumber, i
		}
		if fits && maxRule+1-last >= len(entries)-lastAt {
			most = max(most, n)
		}
	}
	return most
}

func TestNumberAgainstEveryChoice(t *testing.T) {
	rng := rand.New(rand.NewPCG(43, 1))
	for range rounds(3000) {
		entries := make([]Entry, rng.IntN(10))
		for i := range entries {
			base := []int{0, 100, maxRule - 12}[rng.IntN(3)]
			entries[i].RuleNumber = max(0, base+rng.IntN(14)-2)
			entries[i].Ports.From = uint16(i)
		}
		before := slices.Clone(entries)
		got, err := Number(entries)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(entries, before) {
			t.Fatalf("%s: the input changed", showNumbers(before))
		}
		kept, last := 0, 0
		for i, e := range got {
			if e.RuleNumber <= last || e.RuleNumber > maxRule || int(e.Ports.From) != i {
				t.Fatalf("%s: got %s", showNumbers(entries), showNumbers(got))
			}
			last = e.RuleNumber
			if entries[i].RuleNumber != 0 && e.RuleNumber == entries[i].RuleNumber {
				kept++
			}
		}
		if want := mostKept(entries); kept < want {
			t.Fatalf("%s: got %s, which keeps %d, want %d", showNumbers(entries), showNumbers(got), kept, want)
		}
	}
}
