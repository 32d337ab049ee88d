package analyze

import (
	"errors"
	"iter"
	"slices"

	"ephemera/ingest/flow"
)

// Times of the assembly, in seconds.
const (
	// maxDisorder is how far a record can come behind records that end later
	// in an ordered log: an object holds five minutes in any order, and
	// objects of one time may come one after the other.
	maxDisorder = 15 * 60
	// stillOpen is how long after its last record a connection can go on: a
	// silence of silenceTCP, in a window of 600 s.
	stillOpen = silenceTCP + 600
	// partners is how much later the other legs of a connection can end.
	partners = 200
	// step is how often what is over is taken out.
	step = 300
)

// An assembler puts records together to legs and these to connections. Of an
// ordered log it hands on and forgets what is over, so that memory follows
// the number of connections that are open at a time, not the length of the
// log; else it hands on everything at the end.
//
// It takes stock at fixed times, when all records that end before must have
// come. So it hands on the same connections whatever the order of records
// within maxDisorder.
//
// Legs are joined to connections, and these handed on, while the records of
// the next step are read; wait comes before what both of them need.
type assembler struct {
	memory    int64 // Options.Memory
	collector *collector
	stock     int64         // when stock was taken last; a multiple of step
	joined    chan struct{} // closed when the legs of that stock are joined; nil at first

	// What joining needs.
	joiner   joiner
	families families
	ports    *portMeaning
	pending  []*Leg // closed, and waiting for the other legs of their connection
	// kept is where pending lies, in turn with spare.
	kept, spare keptLegs
	// interfaces are the collector's as of the last stock.
	interfaces map[string]*Interface
	// emit is handed connections that last as long as the call.
	emit func(*Connection)
	// over, when not nil, is told when all connections that ended before a
	// time were handed on.
	over func(int64)
}

func newAssembler(o Options, ports *portMeaning, emit func(*Connection)) *assembler {
	c := newCollector()
	c.ordered = o.Ordered
	return &assembler{
		memory: o.Memory, collector: c,
		joiner: joiner{topology: newTopology(o.Network)}, ports: ports, interfaces: map[string]*Interface{}, emit: emit,
	}
}

// read takes all records, and hands on all connections.
func (a *assembler) read(records iter.Seq2[*flow.Record, error]) error {
	defer a.wait()
	for r, err := range records {
		var bad *flow.RecordError
		var broken *flow.ObjectError
		switch {
		case err == nil:
			a.collector.add(r)
			if a.collector.ordered {
				a.advance(r.End - maxDisorder)
			}
			a.makeRoom()
		case errors.As(err, &bad):
			a.collector.coverage.BadRecords++
		case errors.As(err, &broken):
			a.collector.coverage.miss(broken)
		default:
			return err
		}
	}
	a.readSpilled()
	a.takeStock(forever)
	if a.collector.spill != nil {
		return a.collector.spill.err
	}
	return nil
}

// advance takes stock at all times up to seen, when all records that end
// before seen have come.
func (a *assembler) advance(seen int64) {
	if a.stock == 0 {
		a.stock = seen / step * step
	}
	for a.stock+step <= seen {
		a.stock += step
		a.collector.flush()
		if a.collector.groups.n == 0 && a.collector.spill.isEmpty() && a.nothingPending() {
			a.stock = seen / step * step // nothing to do on the way
		}
		a.takeStock(a.stock)
		a.collector.open(a.stock + step)
	}
}

// takeStock closes what is over at the time seen, and has the connections
// handed on whose legs must all be there. Meanwhile the legs of the stock
// before may still be joined, which reads interfaces and who is a server: only
// between wait and join are these set.
func (a *assembler) takeStock(seen int64) {
	limit, complete := seen-stillOpen, seen-stillOpen-partners
	if seen == forever {
		limit, complete = forever, forever
	} else if seen%memory == 0 {
		a.ports.forget(seen)
	}
	c := a.collector
	c.learn(seen, a.ports)
	if len(c.ranked) < len(c.interfaces) {
		a.wait()
		c.rankInterfaces()
		for _, i := range c.ranked {
			a.interfaces[i.ID] = i
		}
	}
	due := c.dueGroups(limit)
	a.wait()
	a.ports.publish()
	c.settleInterfaces(seen, a.joiner.topology)
	legs := c.legsOf(due, limit, seen, a.ports)
	joined := make(chan struct{})
	a.joined = joined
	go func() {
		defer close(joined)
		a.join(legs, c.ranked, complete)
	}()
	c.putBack(due)
}

// wait returns when what was closed is joined and handed on.
func (a *assembler) wait() {
	if a.joined != nil {
		<-a.joined
	}
}

func (a *assembler) nothingPending() bool {
	a.wait()
	return len(a.pending) == 0
}

// join puts closed legs and those pending together, and hands on the
// connections that ended before complete; the legs of others go on pending.
func (a *assembler) join(closed []*Leg, ifaces []*Interface, complete int64) {
	a.families.of(append(slices.Clip(a.pending), closed...))
	a.families.joinStragglers()
	a.families.agree()
	legs := a.families.legs
	byIface := make([][]*Leg, len(ifaces))
	for _, l := range legs {
		byIface[l.Interface.rank] = append(byIface[l.Interface.rank], l)
	}
	findNATs(a.joiner.topology, ifaces, byIface)
	a.pending = a.pending[:0]
	a.kept, a.spare = a.spare, a.kept
	a.kept.empty()
	for _, c := range a.joiner.join(legs) {
		if c.lastEnd() < complete {
			a.emit(c)
			continue
		}
		for _, l := range c.legs() {
			a.pending = append(a.pending, a.kept.copyOf(l))
		}
	}
	if a.over != nil {
		a.over(complete)
	}
}

// keptLegs are legs that last longer than a stock.
type keptLegs struct {
	legs    arena[Leg]
	windows arena[window]
}

func (k *keptLegs) empty() {
	k.legs.empty()
	k.windows.empty()
}

func (k *keptLegs) copyOf(l *Leg) *Leg {
	kept := &k.legs.take(1)[0]
	*kept = *l
	kept.windows = k.windows.copyOf(l.windows)
	return kept
}

// lastEnd is when the last of the connection's legs ended.
func (c *Connection) lastEnd() int64 {
	end := int64(0)
	for _, l := range [...]*Leg{c.Client, c.Inside, c.Outside, c.Server} {
		if l != nil {
			end = max(end, l.End)
		}
	}
	return end
}
