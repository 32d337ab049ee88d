// Package pair decides which control connection an FTP data connection
// belongs to, from what flow logs tell: totals, times and ports.
//
// Several control connections of one client to one server are often open at
// the same time, and nothing in a packet's header says which one asked for a
// data connection. But each transfer leaves marks on its control connection:
// a few packets and bytes, at the transfer's beginning and at its end; and
// FTP carries one transfer at a time. So a way of giving all data connections
// to control connections explains the log well or badly as a whole, and the
// answer is a distribution over such ways:
//
//   - Model is what is known of FTP traffic: terms of a log-likelihood.
//   - Decide samples the ways in proportion to their likelihood, and returns
//     for each data connection the probability of each control connection.
//   - Learner fits the model to the traffic at hand, without being told the
//     truth, from what Decide drew.
//
// All likelihoods are natural logarithms. Nothing here depends on the clock
// or on the number of processors: the same group has the same answer.
package pair

import "math"

// A Group is a set of control connections and of data connections that may
// belong to them; nearly always those of one client and one server.
type Group struct {
	Controls []*Control
	// Data is in order of Start.
	Data []*Data
	// Until is the time, in Unix seconds, before which all data connections
	// have come. Control connections that end later are judged by what came
	// so far. Forever when none is missing.
	Until int64
}

// Forever is later than every time in a log.
const Forever = math.MaxInt64

// A Kind is a server's port and whether its control connections are
// encrypted: what the cost of a transfer depends on. A Model has parameters
// for each.
type Kind struct {
	Server    string
	Port      uint16
	Encrypted bool
}

// A Control is a control connection.
type Control struct {
	Kind       Kind
	Start, End int64 // Unix seconds of the first and the last packet
	// Begun and Ended tell whether the log has its beginning and its end.
	Begun, Ended bool
	// Attempted is set when an attempt at active mode may be its, which is
	// decided later: nothing is learned from it.
	Attempted bool
	// Totals are what the control connection carried in its life.
	Totals Totals
	// Views are its aggregation intervals at different network interfaces,
	// whose intervals have different boundaries. Only those of more than one
	// interval tell anything.
	Views []View

	carried carried
}

// Totals are packets and payload (bytes above TCP) each way. Packets without
// payload count.
type Totals struct{ ToServer, ToClient, PayloadToServer, PayloadToClient float64 }

func (t Totals) vector() vector {
	return vector{t.ToServer, t.ToClient, t.PayloadToServer, t.PayloadToClient}
}

// A View is a connection's aggregation intervals at one interface in time
// order.
type View []Interval

// An Interval is what one aggregation interval saw: the first and the last
// packet of both ways, in Unix seconds, and how many there were.
type Interval struct {
	First, Last int64
	Packets     float64
}

// at returns the interval that has, or would have, a packet at time t.
func (v View) at(t int64) int {
	k := 0
	for k+1 < len(v) && t >= v[k+1].First {
		k++
	}
	return k
}

// silent reports whether t is in a pause between two intervals, by more than
// the second that times are rounded to. A transfer does not begin or end
// while its control connection is silent.
func (v View) silent(t int64) bool {
	k := v.at(t)
	return k+1 < len(v) && t > v[k].Last+1 && t < v[k+1].First-1
}

// Data is a connection that may be a data connection.
type Data struct {
	Start, End int64 // Unix seconds of the first and the last packet
	// Established is not set when the connection was blocked.
	Established bool
	// Active is set when the server opened it.
	Active bool
	// Upload is set when the client sent the payload.
	Upload bool
	// Size is the payload of the greater direction, in bytes.
	Size int
	// Port is the port that the control connection told: the server's, in
	// active mode the client's.
	Port  uint16
	Shape Shape
	// Odds is the logarithm of the odds that it is a data connection at all,
	// by everything that does not depend on the control connection: how its
	// port is used otherwise.
	Odds float64
	// Candidates are indexes of Group.Controls.
	Candidates []int

	x features // of the cost of the transfer
}

// A Shape is what the payloads of the two directions look like.
type Shape uint8

// Shapes.
const (
	ShapeUnknown   Shape = iota // stopped, or too little to tell
	ShapeTransfer               // payload one way, nothing the other: FTP in the clear
	ShapeLossy                  // the same, if many packets carry selective acknowledgements
	ShapeHandshake              // several hundred bytes both ways: TLS, of FTP or of anything
	ShapeRequest                // a short request and an answer: not FTP
	shapes
)

// An Answer is what Decide found for one data connection.
type Answer struct {
	// Shares are the probabilities of Data.Candidates, Stray that of FTP of
	// none of them, and Foreign that of another service. They add up to 1.
	Shares         []float64
	Stray, Foreign float64
}
