package rules

import (
	"cmp"
	"slices"
)

// What bounds the searches of one transition, so that they take some tenths of
// a second at worst.
const (
	maxChecks     = 20000 // tables that one search looks at
	maxHelpChecks = 500   // and one with entries that exist for some steps
	maxHelp       = 40000 // and all of those together
	maxHelpers    = 8     // entries that exist for some steps
)

// plan returns the moves under the hardest demand that can be kept.
func (t *transition) plan() []move {
	found, deepest := t.search(demands[0], nil, maxChecks)
	if found != nil {
		return found
	}
	if way := t.searchWithHelpers(deepest); way != nil {
		return way
	}
	for _, begun := range [][]move{deepest, nil} {
		if way := t.detour(begun); t.keeps(way, demands[0]) {
			return way
		}
	}
	for _, demand := range demands[1:] {
		if found, _ = t.search(demand, nil, maxChecks); found != nil {
			return found
		}
	}
	return t.emptyAndFill()
}

// searchWithHelpers searches with a few entries that exist for some steps:
// copies of those that stood in the way where the search got deepest.
func (t *transition) searchWithHelpers(deepest []move) []move {
	if t.layer != NACL {
		return nil
	}
	var helpers []move
	enough := t.checked + maxHelp
	for range maxHelpers {
		found, more, further := t.searchWithOneMore(helpers, deepest, enough)
		if found != nil || more == nil {
			return found
		}
		helpers, deepest = more, further
	}
	return nil
}

// searchWithOneMore adds one helper. When no way is found it returns the
// helpers with the first that leads beyond the deepest moves, and how far.
func (t *transition) searchWithOneMore(helpers, deepest []move, enough int) (found, more, further []move) {
	reached := len(deepest) - len(helpers)
	for _, h := range t.helpers(deepest, helpers) {
		if t.checked > enough {
			break
		}
		more := append(slices.Clip(helpers), move{CreateEntry, h}, move{DeleteEntry, h})
		found, further := t.search(demands[0], more, maxHelpChecks)
		if found != nil || len(further)-len(more) > reached {
			return found, more, further
		}
	}
	return nil, nil, nil
}

// helpers returns copies of the entries whose numbers are still to change
// hands after the moves made, right before and right behind their own places,
// and before and behind all.
func (t *transition) helpers(made, taken []move) []slot {
	var copies []slot
	for _, c := range t.changes() {
		if slices.Contains(made, c) {
			continue
		}
		for _, tb := range []table{t.from, t.to} {
			at, found := tb.find(c.number)
			if !found {
				continue
			}
			for _, n := range t.freeNumbers(tb[at].number, taken) {
				copies = append(copies, slot{n, tb[at].clause})
			}
		}
	}
	return copies
}

// freeNumbers returns the nearest number before and behind the given one that
// neither side nor a move has taken, and likewise before and behind all.
func (t *transition) freeNumbers(number int, taken []move) []int {
	isTaken := func(n int) bool {
		_, old := t.from.find(n)
		_, wanted := t.to.find(n)
		return old || wanted || slices.ContainsFunc(taken, func(m move) bool { return m.number == n })
	}
	var free []int
	add := func(n, step int) {
		for isTaken(n) {
			n += step
		}
		if n >= 1 && n <= maxRule && !slices.Contains(free, n) {
			free = append(free, n)
		}
	}
	lowest, highest := number, number
	for _, s := range slices.Concat(t.from, t.to) {
		lowest, highest = min(lowest, s.number), max(highest, s.number)
	}
	add(number+1, 1)
	add(number-1, -1)
	add(highest+1, 1)
	add(lowest-1, -1)
	return free
}

// keeps reports whether the moves exist and all tables on the way meet the
// demand.
func (t *transition) keeps(moves []move, demand func(breach) bool) bool {
	now := t.from
	for _, m := range moves {
		if !now.isLegal(m) {
			return false
		}
		if now = now.after(m); !demand(t.breach(now)) {
			return false
		}
	}
	return moves != nil
}

// changes returns the moves that have to be made, in some order: what is
// created, replaced and deleted. An entry that gives its number to one of the
// other family is deleted first, so that deletions alone always make room.
func (t *transition) changes() []move {
	moves := []move{}
	for _, s := range t.to {
		at, found := t.from.find(s.number)
		switch {
		case !found:
			moves = append(moves, move{CreateEntry, s})
		case t.from[at] == s:
		case t.clauses[t.from[at].clause].families() == t.clauses[s.clause].families():
			moves = append(moves, move{ReplaceEntry, s})
		default:
			moves = append(moves, move{DeleteEntry, t.from[at]}, move{CreateEntry, s})
		}
	}
	for _, s := range slices.Backward(t.from) {
		if _, found := t.to.find(s.number); !found {
			moves = append(moves, move{DeleteEntry, s})
		}
	}
	return byOperation(moves)
}

// byOperation sorts moves: what is created first, what is deleted last.
func byOperation(moves []move) []move {
	slices.SortStableFunc(moves, func(x, y move) int { return cmp.Compare(x.op, y.op) })
	return moves
}

// emptyAndFill returns the moves in the order that always fits the quota.
func (t *transition) emptyAndFill() []move {
	moves := t.changes()
	slices.SortStableFunc(moves, func(x, y move) int { return cmp.Compare(y.op, x.op) })
	return moves
}

// search looks for an order of the changes, and of further moves, in which
// every table meets the demand. When it finds none among as many tables as it
// may look at, it returns the longest row of moves that did.
func (t *transition) search(demand func(breach) bool, further []move, checks int) (found, deepest []move) {
	s := &search{
		transition: t, demand: demand, checks: checks, dead: make(map[string]bool),
		changes: byOperation(append(t.changes(), further...)),
	}
	s.made, s.done = []move{}, make([]byte, len(s.changes))
	if s.goOn(t.from) {
		return s.made, nil
	}
	return nil, s.deepest
}

// A search is the state of a depth-first search.
type search struct {
	*transition
	demand  func(breach) bool
	changes []move
	done    []byte // by change: 1 when it is made
	made    []move
	deepest []move
	dead    map[string]bool // values of done from which no way leads on
	checks  int             // how many tables it may yet look at
}

// goOn makes the changes that are left, and reports whether it could.
func (s *search) goOn(now table) bool {
	if len(s.made) == len(s.changes) {
		return true
	}
	if len(s.made) > len(s.deepest) {
		s.deepest = slices.Clone(s.made)
	}
	key := string(s.done)
	if s.dead[key] {
		return false
	}
	if s.tryClean(now) {
		return true
	}
	s.dead[key] = true
	return false
}

// tryClean goes on with each change after which nothing is breached and, when
// none of them leads to the end, with those that the demand lets pass, the
// least breach first.
func (s *search) tryClean(now table) bool {
	type unclean struct {
		change int
		breach
	}
	var later []unclean
	for i, m := range s.changes {
		if s.done[i] == 1 || !now.isLegal(m) {
			continue
		}
		if s.checks--; s.checks < 0 {
			return false
		}
		s.checked++
		b := s.breach(now.after(m))
		switch {
		case !s.demand(b):
		case b.gaps > 0 || b.holes > 0:
			later = append(later, unclean{i, b})
		case s.try(now, i):
			return true
		}
	}
	slices.SortStableFunc(later, func(x, y unclean) int {
		return cmp.Or(cmp.Compare(x.gaps, y.gaps), cmp.Compare(x.holes, y.holes))
	})
	return slices.ContainsFunc(later, func(u unclean) bool { return s.try(now, u.change) })
}

// try makes one change, goes on, and takes the change back if that fails.
func (s *search) try(now table, change int) bool {
	m := s.changes[change]
	s.done[change], s.made = 1, append(s.made, m)
	if s.goOn(now.after(m)) {
		return true
	}
	s.done[change], s.made = 0, s.made[:len(s.made)-1]
	return false
}

// detour returns moves that begin with those given and lead to the end by way
// of entries that exist for some steps only, or nil where no numbers are free
// for them. Between the entries that stay, the new ones are created in their
// order, all before or all behind the old ones; the old ones are deleted, the
// last first; then the new ones are created again with the numbers that they
// are to have; and their copies are deleted, the last first. At any time, a
// packet is treated as by the rules where the detour begins or as by those
// where it ends.
func (t *transition) detour(begun []move) []move {
	if t.layer != NACL {
		return nil
	}
	now := t.from
	for _, m := range begun {
		now = now.after(m)
	}
	before, old, wanted, behind := changedPart(now, t.to)
	copies := copiesBeside(before, old, wanted, behind)
	if copies == nil {
		return nil
	}
	moves := slices.Clone(begun)
	moves = append(moves, each(CreateEntry, copies)...)
	moves = append(moves, each(DeleteEntry, backwards(old))...)
	moves = append(moves, each(CreateEntry, wanted)...)
	return append(moves, each(DeleteEntry, backwards(copies))...)
}

// changedPart cuts off what two tables have in common at the beginning and
// at the end. The numbers before and behind are those next to what is left.
func changedPart(now, to table) (before int, old, wanted table, behind int) {
	behind = maxRule + 1
	for len(now) > 0 && len(to) > 0 && now[0] == to[0] {
		before, now, to = now[0].number, now[1:], to[1:]
	}
	for len(now) > 0 && len(to) > 0 && now[len(now)-1] == to[len(to)-1] {
		behind, now, to = now[len(now)-1].number, now[:len(now)-1], to[:len(to)-1]
	}
	return before, now, to, behind
}

// copiesBeside gives the wanted clauses numbers behind all those of old and
// wanted, or before all of them. It returns nil where there is no room.
func copiesBeside(before int, old, wanted table, behind int) table {
	lowest, highest := behind, before
	for _, s := range slices.Concat(old, wanted) {
		lowest, highest = min(lowest, s.number), max(highest, s.number)
	}
	var numbers []int
	switch n := len(wanted); {
	case behind-highest > n:
		numbers = between(highest, behind, n)
	case lowest-before > n:
		numbers = between(before, lowest, n)
	default:
		return nil
	}
	copies := slices.Clone(wanted)
	for i := range copies {
		copies[i].number = numbers[i]
	}
	return copies
}

func each(op Op, slots table) []move {
	var moves []move
	for _, s := range slots {
		moves = append(moves, move{op, s})
	}
	return moves
}

func backwards(t table) table {
	t = slices.Clone(t)
	slices.Reverse(t)
	return t
}
