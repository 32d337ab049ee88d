// Package simulate makes flow logs of FTP through NAT gateways, together
// with the truth: which data connection belonged to which control
// connection, and which port the NAT gateway gave each connection. Priors are
// fitted on such traffic, and the accuracy of the analysis is measured on it.
//
// It simulates packets, not records: hosts with the port allocator of their
// operating system, TCP with its acknowledgements, FTP clients and servers
// with the commands and replies of real software, TLS, and what else hosts
// do. Six points on the way count the packets (see analyze.Point), each
// network interface in aggregation intervals of its own:
//
//	actors → packets → records of each interface → five-minute objects
//
//	t := simulate.Run(simulate.Config{Seed: 1, Sessions: 500, Parallelism: 4})
//
// What no document says is varied, not decided: the profiles come from
// documentation, source code and what the software is known to send. Loss of
// packets is simple, congestion is not simulated, and no host runs out of
// ports.
package simulate

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"time"

	"ephemera/ingest/flow"
)

// Begin is when the logs begin, in Unix seconds: 2026-11-22T18:00:00Z.
const Begin = 1795370400

// Config says what is simulated. The zero value works: an hour of 200 plain
// FTP sessions, one at a time, with nothing else on the wire.
type Config struct {
	Seed     uint64
	Duration time.Duration // of the log; an hour if zero

	Clients, Servers int // 4 and 3 if zero
	// Sessions are how many control connections are opened, those of
	// BruteForce and of IPv6 included; 200 if zero.
	Sessions int
	// Parallelism is how many control connections a client opens at once, at
	// most; 1 if zero. All tells that it always opens as many.
	Parallelism int
	All         bool
	// Cron is the share of batches of sessions that begin with a minute.
	Cron float64

	Transfers float64       // mean number per session; 4 if zero, none if negative
	Think     time.Duration // median pause between transfers; 100 ms if zero
	Size      float64       // median file in bytes; 40 kB if zero
	Rate      float64       // median of the servers' bytes per second; 5 MB/s if zero

	Window time.Duration // aggregation interval; a minute if zero
	Loss   float64       // share of intervals of an interface that are lost (SKIPDATA)
	Late   time.Duration // how late start and end are, at most; the same in an interval of an interface
	Rich   bool          // the fields up to version 5; else the default format

	NATGateways  int           // 1 if zero
	NATAddresses int           // of each gateway; 1 if zero
	RTT          time.Duration // that of the farthest server; 80 ms if zero
	PacketLoss   float64       // share of data segments that the internet loses

	// Decoys and Scans are connections for each session: other services on
	// the FTP servers and elsewhere, and probes of the NAT gateways.
	Decoys, Scans float64
	// BruteForce is the number of bursts of failed logins; each is of some
	// hundred control connections within a minute.
	BruteForce int

	BlockedReplies float64 // share of the NAT gateways' ports that their subnets' ACL denies
	BlockedPassive float64 // share of each passive range that the clients' security group denies

	// Shares of the sessions' kinds. TLS and Active are drawn for each pair
	// of client and server, Idle for each session, IPv6 for each client.
	TLS, Active, Idle, IPv6 float64

	Daemons []Daemon // one is drawn for each server; all if empty
	Systems []System // one is drawn for each client; Linux and others if empty
}

func (c Config) withDefaults() Config {
	def(&c.Duration, time.Hour)
	def(&c.Clients, 4)
	def(&c.Servers, 3)
	def(&c.Sessions, 200)
	def(&c.Parallelism, 1)
	def(&c.Transfers, 4)
	def(&c.Think, 100*time.Millisecond)
	def(&c.Size, 40_000)
	def(&c.Rate, 5_000_000)
	def(&c.Window, time.Minute)
	def(&c.NATGateways, 1)
	def(&c.NATAddresses, 1)
	def(&c.RTT, 80*time.Millisecond)
	if len(c.Daemons) == 0 {
		c.Daemons = []Daemon{VSFTPD, VSFTPD, ProFTPD, ProFTPD, PureFTPd, FileZillaServer, IIS, TransferFamily}
	}
	if len(c.Systems) == 0 {
		c.Systems = []System{Linux, Linux, Linux, Windows, MacOS}
	}
	return c
}

func def[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Traffic is what was simulated: the log, and the truth about it.
type Traffic struct {
	Config  Config
	Records []flow.Record // in the order of delivery
	// Sessions, Data and Others are the connections that the log could hold
	// a packet of: Log of each says what it does hold.
	Sessions []Session
	Data     []DataConnection
	Others   []Other
	Mappings []Mapping
}

// Ends are the two ends of a connection before translation: from the one
// that opens it, in active mode too.
type Ends = flow.Tuple

// A Life is when a connection's first and last packets were at the
// initiator, in Unix seconds, and what the log holds of it.
type Life struct {
	Start, End float64
	// Records is how many flow log records tell of it; 0 when all were lost.
	Records int
	// Cut is set when it began before the log or ended after it.
	Cut bool
}

// Outcome is how a connection went.
type Outcome string

// The outcomes.
const (
	OK          Outcome = "ok"
	Blocked     Outcome = "blocked"      // by a rule of the VPC
	LoginFailed Outcome = "login-failed" // of control connections only
	IdleTimeout Outcome = "idle-timeout" // the NAT gateway forgot it; of control connections only
	NoAnswer    Outcome = "no-answer"    // active mode through NAT
)

// A Session is a control connection.
type Session struct {
	Ends
	Life
	NATAddr flow.Addr // not valid without NAT
	NATPort uint16
	TLS     bool
	Outcome Outcome
	Data    int // data connections, tries included
}

// A DataConnection is an FTP data connection, or a try.
type DataConnection struct {
	Ends
	Life
	Session int // index in Traffic.Sessions
	NATAddr flow.Addr
	NATPort uint16
	Active  bool
	TLS     bool
	Outcome Outcome
	// Upload tells the way, Bytes how much was sent, headers and TLS apart.
	Upload bool
	Bytes  int64
}

// Kinds of other connections.
const (
	HTTP      = "http"       // on a high port of an FTP server
	LongLived = "long-lived" // on a high port of an FTP server
	HTTPS     = "https"
	DNS       = "dns"
	Scan      = "scan" // from the internet to a NAT gateway
)

// Other is a connection that is not FTP.
type Other struct {
	Ends
	Life
	Kind string
}

// A Mapping is the port that a NAT gateway gave a connection. Primary is the
// address that stands for NATAddr where a log shows interface addresses.
type Mapping struct {
	Ends
	Life
	NATAddr, Primary flow.Addr
	NATPort          uint16
}

// An actor does something at a time, and says when it goes on; never, when
// it has come to its end.
type actor interface {
	act(at time.Duration) (next time.Duration)
}

const never = time.Duration(math.MaxInt64)

// A world is a simulation on its way. Its time is the one since Begin.
type world struct {
	Config
	rnd       *rand.Rand
	traffic   *Traffic
	log       *recorder
	clients   []*client
	servers   []*server
	gateways  []*gateway
	elsewhere []flow.Addr // other servers on the internet
	habits    map[[2]int]*habit
	queue     queue
	queued    int
}

// Run simulates. Equal configurations give equal traffic.
func Run(c Config) *Traffic {
	c = c.withDefaults()
	w := &world{
		Config: c, rnd: rand.New(rand.NewPCG(c.Seed, 0x657068656d657261)),
		traffic: &Traffic{Config: c}, habits: map[[2]int]*habit{},
	}
	w.log = newRecorder(w)
	w.build()
	w.plan()
	for w.queue.Len() > 0 {
		e := &w.queue[0]
		if e.at = e.actor.act(e.at); e.at == never {
			heap.Pop(&w.queue)
		} else {
			heap.Fix(&w.queue, 0)
		}
	}
	w.finish()
	return w.traffic
}

// start lets an actor begin at a time.
func (w *world) start(at time.Duration, a actor) {
	w.queued++
	heap.Push(&w.queue, event{at, w.queued, a})
}

// An event is an actor with the time at which it goes on.
type event struct {
	at    time.Duration
	order int
	actor actor
}

// A queue holds events, the first one at index 0.
type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is for container/heap.
func (q *queue) Push(e any) { *q = append(*q, e.(event)) }

// Pop is for container/heap.
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// chance is true with the probability p.
func (w *world) chance(p float64) bool { return w.rnd.Float64() < p }

// between returns a number from lo to hi.
func (w *world) between(lo, hi int) int { return lo + w.rnd.IntN(hi-lo+1) }

// pick returns one of the values.
func pick[T any](w *world, values []T) T { return values[w.rnd.IntN(len(values))] }

// spread returns a log-normal value with the given median.
func (w *world) spread(median, sigma float64) float64 {
	return median * math.Exp(sigma*w.rnd.NormFloat64())
}

// about returns a log-normal time with the given median.
func (w *world) about(median time.Duration, sigma float64) time.Duration {
	return time.Duration(min(w.spread(float64(median), sigma), float64(24*time.Hour)))
}

// within returns a time below limit.
func (w *world) within(limit time.Duration) time.Duration {
	return time.Duration(w.rnd.Int64N(int64(limit)))
}

// unix turns the simulation's time into Unix seconds.
func unix(t time.Duration) float64 { return Begin + t.Seconds() }
