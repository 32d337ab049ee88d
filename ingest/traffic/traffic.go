// Package traffic writes large flow logs of a network that does not exist,
// for measuring how fast they are read: the load balancers, services and
// databases of a VPC in three availability zones, its way out through three
// NAT gateways, its FTP clients, and who knocks at it from outside.
//
//	stats, err := traffic.Write("logs", traffic.Config{Seed: 1, Records: 1_000_000})
//
// writes logs/AWSLogs, laid out as AWS does, and logs/config, the network's
// rules as the AWS CLI prints them. A seed gives the same records in the same
// objects in every format.
//
// # What is true of the records
//
// A connection is seen at each network interface on its way, in windows of 60
// seconds whose phase is the interface's own. Packets and bytes are the same
// at every point; a NAT gateway's ports are unique for each server address
// and port while they are in use; accepted packets are those that the rules
// allow, rejected ones those that they deny. An object holds the records that
// end in its five minutes, in the order of interfaces and in no other.
//
// # Limits
//
// There is no IPv6, no packet is lost, a window always has its record, and
// nothing takes time on its way. Packets of an exchange are spread evenly.
// Traffic is the same at every hour of the day.
package traffic

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Format is how records are written.
type Format uint8

// The formats.
const (
	Default  Format = iota // text, the fields of version 2
	Custom29               // text, the fields of versions 2 to 5
	Parquet                // the fields of versions 2 to 5
)

// String gives "default", "custom29" or "parquet".
func (f Format) String() string { return [...]string{"default", "custom29", "parquet"}[f] }

// FormatNamed is the inverse of Format.String.
func FormatNamed(name string) (Format, error) {
	for f := Default; f <= Parquet; f++ {
		if f.String() == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("%q is no format; give default, custom29 or parquet", name)
}

// Config says what to write. The zero value of every field but Records
// works.
type Config struct {
	Seed uint64

	// Records is about how many records of log status OK there are.
	// Records of interfaces without traffic come on top.
	Records int

	// Start is when the log begins; zero means 2026-11-22T00:00:00Z. It is
	// rounded down to five minutes.
	Start time.Time

	// Duration is how long the log is, rounded up to five minutes; 0 means
	// a day.
	Duration time.Duration

	// Interfaces is how many network interfaces there are, at least 40;
	// 0 means 300.
	Interfaces int

	Format Format
}

const (
	defaultInterfaces = 300
	minInterfaces     = 40
	maxInterfaces     = 10_000 // the subnets hold no more addresses
	objectSeconds     = 300
)

// complete replaces zero fields, and checks the others.
func (c Config) complete() (Config, error) {
	const step = objectSeconds * time.Second
	if c.Start.IsZero() {
		c.Start = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	}
	c.Start = c.Start.UTC().Truncate(step)
	if c.Duration == 0 {
		c.Duration = 24 * time.Hour
	}
	c.Duration = (c.Duration + step - 1).Truncate(step)
	if c.Interfaces == 0 {
		c.Interfaces = defaultInterfaces
	}
	switch {
	case c.Records <= 0:
		return c, errors.New("the number of records must be above 0")
	case c.Duration <= 0:
		return c, errors.New("the duration must be above 0")
	case c.Interfaces < minInterfaces || c.Interfaces > maxInterfaces:
		return c, fmt.Errorf("%d network interfaces; give %d to %d", c.Interfaces, minInterfaces, maxInterfaces)
	case c.Format > Parquet:
		return c, fmt.Errorf("format %d is none of Default, Custom29 and Parquet", c.Format)
	}
	return c, nil
}

// Stats counts what was written.
type Stats struct {
	Objects int
	Bytes   int64 // in the objects, compressed
	Records int64 // of any log status
	Rejects int64
	FTP     int64 // records of control and data connections
	NoData  int64
}

func (s *Stats) add(t Stats) {
	s.Objects += t.Objects
	s.Bytes += t.Bytes
	s.Records += t.Records
	s.Rejects += t.Rejects
	s.FTP += t.FTP
	s.NoData += t.NoData
}

// Write writes the log under dir/AWSLogs, and under dir/config the network's
// rules and interfaces.csv, which tells each network interface's subnet. It
// uses as many processors as there are; its memory depends on the rate of
// records, not on their number.
func Write(dir string, c Config) (Stats, error) {
	c, err := c.complete()
	if err != nil {
		return Stats{}, err
	}
	rnd := rand.New(rand.NewPCG(c.Seed, 0x666c6f77))
	n := newNetwork(rnd, c.Interfaces)
	if err := n.writeSnapshot(filepath.Join(dir, "config")); err != nil {
		return Stats{}, err
	}
	o := &objectWriter{dir: dir, network: n, config: c}
	o.start(runtime.GOMAXPROCS(0))
	newWorld(rnd, n, c).run(o.write)
	return o.wait()
}

// objectWriter encodes objects in parallel.
type objectWriter struct {
	dir     string
	network *network
	config  Config

	objects chan object
	done    chan result
	workers int
}

// object is the records of five minutes.
type object struct {
	start   int64 // Unix seconds
	hash    uint32
	records []record
}

type result struct {
	stats Stats
	err   error
}

func (o *objectWriter) start(workers int) {
	o.objects, o.done, o.workers = make(chan object), make(chan result), workers
	for range workers {
		go func() {
			var r result
			e := newEncoder(o.config.Format, o.network)
			for x := range o.objects {
				if r.err == nil {
					r.err = o.writeObject(e, x, &r.stats)
				}
			}
			o.done <- r
		}()
	}
}

func (o *objectWriter) write(x object) { o.objects <- x }

func (o *objectWriter) wait() (Stats, error) {
	close(o.objects)
	var stats Stats
	var err error
	for range o.workers {
		r := <-o.done
		stats.add(r.stats)
		err = errors.Join(err, r.err)
	}
	return stats, err
}

func (o *objectWriter) writeObject(e encoder, x object, stats *Stats) error {
	data, err := e.encode(x.records)
	if err != nil {
		return err
	}
	at := time.Unix(x.start, 0).UTC()
	dir := filepath.Join(o.dir, "AWSLogs", accountID, "vpcflowlogs", region, at.Format("2006/01/02"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	hash := hex.EncodeToString([]byte{byte(x.hash >> 24), byte(x.hash >> 16), byte(x.hash >> 8), byte(x.hash)})
	name := accountID + "_vpcflowlogs_" + region + "_" + flowLogID + at.Format("_20060102T1504Z_") + hash + e.extension()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		return err
	}
	stats.Objects++
	stats.Bytes += int64(len(data))
	stats.count(x.records)
	return nil
}

func (s *Stats) count(records []record) {
	s.Records += int64(len(records))
	for i := range records {
		r := &records[i]
		if r.reject {
			s.Rejects++
		}
		if r.ftp {
			s.FTP++
		}
		if r.noData {
			s.NoData++
		}
	}
}
