package picker

import "math"

// How ports are picked within a range of a given width: with probability
// fresh anywhere in the range, every port alike; otherwise a step up from
// one of the last connections, the walk of a counter.
//
// With fresh = 1 every connection is independent of the others: RFC 6056,
// algorithms 1 and 2, bind to port 0 on Linux, macOS. Walks are algorithms 3
// to 5. Linux has had algorithm 4 for connect since 5.12: one counter for
// each hash of both addresses and the destination port, moved on by even
// numbers of 2 to 16 since 5.18 (net/ipv4/inet_hashtables.c). Windows
// documents no order; what is seen of it is nearly in sequence, with one
// counter for all. Other connections of the same host, which the rule does
// not see, move the counters on as well: all magnitudes of steps are alike.
var models = []struct{ fresh, prior float64 }{
	{1, .5}, {.5, .125}, {.2, .125}, {.05, .125}, {.01, .125},
}

const (
	recent  = 16   // how many connections back a counter's last port is looked for
	maxStep = 1024 // the longest step
)

// Densities 1/n that add up to 1: of steps by their size, and of the recent
// connections by how many back they are. A host with one counter always goes
// on from the last; one with several, or a log that is not quite in order,
// from one before it.
var (
	stepWeight   = 1 / harmonic(maxStep)
	recentWeight = 1 / harmonic(recent)
)

func harmonic(n int) float64 {
	h := 0.0
	for d := n; d >= 1; d-- {
		h += 1 / float64(d)
	}
	return h
}

// A walk holds the recent ports, the last one last.
type walk struct{ last []uint16 }

// step returns how likely port is as a step up from one of the recent ports,
// and takes it in.
func (w *walk) step(port uint16) float64 {
	density := 0.0
	for i, p := range w.last {
		if up := int(port) - int(p); 1 <= up && up <= maxStep {
			back := len(w.last) - i
			density += stepWeight / float64(up) * recentWeight / float64(back)
		}
	}
	w.last = append(w.last[max(0, len(w.last)-recent+1):], port)
	return density
}

const (
	perOctave   = 8                // widths at which a likelihood is computed, for each factor of two
	tableWidths = 16*perOctave + 1 // from 1 to 65536
	batch       = 32               // factors that are multiplied before the logarithm is taken; each is above 1e-7
)

// inverseWidths are those of a table's widths.
var inverseWidths = func() (inverse [tableWidths]float64) {
	for k := range inverse {
		inverse[k] = math.Exp2(-float64(k) / perOctave)
	}
	return inverse
}()

// A likelihood says how likely the ports seen so far are when they are
// picked from a range of a given width that holds them all: a logarithm,
// averaged over the models. Everything that the data say about a range is
// this, and that it holds the ports.
//
// A counter that passes the range's end and starts again at its beginning is
// taken for a fresh pick, which is less likely than it is.
type likelihood struct {
	logs    [][tableWidths]float64 // by model; only those from first are computed
	average [tableWidths]float64
	first   int // the index of the narrowest width
}

// newLikelihood returns that of one connection, which is alike in all
// models: its port is any of the range. Widths from narrowest up can be asked
// for.
func newLikelihood(narrowest int) *likelihood {
	l := &likelihood{logs: make([][tableWidths]float64, len(models))}
	l.first = int(perOctave * math.Log2(float64(max(narrowest, 1))))
	for m := range models {
		for k := range l.logs[m] {
			l.logs[m][k] = -float64(k) * math.Ln2 / perOctave
		}
	}
	l.takeAverage()
	return l
}

// add takes in further connections by their step densities.
func (l *likelihood) add(steps []float64) {
	for len(steps) > 0 {
		n := min(batch, len(steps))
		for m, model := range models {
			for k := l.first; k < tableWidths; k++ {
				anywhere := model.fresh * inverseWidths[k]
				product := 1.0
				for _, step := range steps[:n] {
					product *= anywhere + (1-model.fresh)*step
				}
				l.logs[m][k] += math.Log(product)
			}
		}
		steps = steps[n:]
	}
	l.takeAverage()
}

func (l *likelihood) takeAverage() {
	for k := l.first; k < tableWidths; k++ {
		highest := math.Inf(-1)
		for m := range models {
			highest = max(highest, l.logs[m][k])
		}
		sum := 0.0
		for m, model := range models {
			sum += model.prior * math.Exp(l.logs[m][k]-highest)
		}
		l.average[k] = highest + math.Log(sum)
	}
}

// at returns the logarithm of the likelihood for a width from the narrowest
// to 65536. Between the table's widths it is interpolated.
func (l *likelihood) at(width int) float64 {
	x := perOctave * math.Log2(float64(width))
	k := min(max(int(x), l.first), tableWidths-2)
	part := x - float64(k)
	return l.average[k]*(1-part) + l.average[k+1]*part
}
