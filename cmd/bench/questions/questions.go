package questions

import (
	"context"
	"errors"
	"fmt"
	"io"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// Mode is what to do with the records.
type Mode int

// The modes. See the package comment.
const (
	Ask       Mode = iota // write sessions.csv, rejects.csv and demand.csv
	Aggregate             // group all records and print a checksum
	Decode                // decode and count, nothing else
)

// Options say what to read, and what to answer.
type Options struct {
	// Logs is a file or a directory with flow logs, gzip or plain text or
	// Parquet.
	Logs string

	// Subnets is a CSV file of interface_id and subnet_id, with that header.
	// Ask needs it.
	Subnets string

	Mode Mode

	// Jobs is how many objects are decoded at once; 0 means GOMAXPROCS. The
	// questions are answered by one more goroutine.
	Jobs int

	// Out is the directory that the CSV files of Ask are written to. It is
	// made when it does not exist.
	Out string

	// Stdout is where the lines of Aggregate and Decode go; nil drops them.
	Stdout io.Writer
}

// wanted are the fields that all questions together need; Decode reads them
// too, so that what the answers cost on top of decoding is their difference.
var wanted = flow.Fields(
	flow.FieldInterfaceID, flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldSrcPort, flow.FieldDstPort,
	flow.FieldProtocol, flow.FieldPackets, flow.FieldBytes, flow.FieldStart, flow.FieldEnd,
	flow.FieldAction, flow.FieldLogStatus)

// Run reads the logs and answers. A record or an object that cannot be read
// is an error: a comparison of answers over less than everything would mean
// nothing.
func Run(ctx context.Context, o Options) error {
	logs, err := ingest.Open([]string{o.Logs}, ingest.Options{Jobs: o.Jobs, Want: wanted})
	if err != nil {
		return err
	}
	stdout := o.Stdout
	if stdout == nil {
		stdout = io.Discard
	}
	switch o.Mode {
	case Ask:
		return ask(ctx, logs, &o)
	case Aggregate:
		return aggregate(ctx, logs, stdout)
	case Decode:
		return decode(ctx, logs, stdout)
	}
	return fmt.Errorf("mode %d: not one of Ask, Aggregate and Decode", o.Mode)
}

// orderedSource is a stream of records that can be read again, and what
// ingest.Logs promises about its order.
type orderedSource interface {
	ingest.Source
	Ordered() bool
}

// ask answers the three questions. A log that breaks the promise of its
// order is read again, and its records kept until its end.
func ask(ctx context.Context, logs orderedSource, o *Options) error {
	subnets, err := readSubnets(o.Subnets)
	if err != nil {
		return err
	}
	a, err := answer(ctx, logs, subnets, logs.Ordered())
	if errors.Is(err, errLate) {
		a, err = answer(ctx, logs, subnets, false)
	}
	if err != nil {
		return err
	}
	return a.write(o.Out)
}

// answer reads the whole stream once. With ordered, sessions rely on the
// promise of ingest.Logs.Ordered.
func answer(ctx context.Context, source ingest.Source, subnets map[string]string, ordered bool) (*answers, error) {
	a := newAnswers(subnets, ordered)
	for r, err := range source.Records(ctx) {
		if err != nil {
			return nil, err
		}
		if err := a.add(r); err != nil {
			return nil, err
		}
	}
	a.sessions.end()
	return a, nil
}

// answers are those to the three questions, as they grow.
type answers struct {
	interfaces interfaces
	sessions   *sessions
	rejects    *rejects
	demand     *demand
}

func newAnswers(subnets map[string]string, ordered bool) *answers {
	return &answers{sessions: newSessions(ordered), rejects: newRejects(), demand: newDemand(subnets)}
}

// add takes one record of the stream. It keeps nothing of it but numbers.
func (a *answers) add(r *flow.Record) error {
	if r.Status != flow.OK {
		return nil
	}
	n, known := a.interfaces.number(r.InterfaceID)
	if !known {
		a.demand.open(r.InterfaceID)
	}
	switch r.Action {
	case flow.Reject:
		a.rejects.add(n, r)
	case flow.Accept:
		a.demand.add(n, r)
	}
	if r.Proto == flow.TCP {
		return a.sessions.add(n, r)
	}
	return nil
}

// write writes the three files into dir.
func (a *answers) write(dir string) error {
	return writeFiles(dir,
		file{"sessions.csv", func(w *csvWriter) { a.sessions.write(w, &a.interfaces) }},
		file{"rejects.csv", func(w *csvWriter) { a.rejects.write(w, &a.interfaces) }},
		file{"demand.csv", func(w *csvWriter) { a.demand.write(w) }})
}

// decode counts the records.
func decode(ctx context.Context, source ingest.Source, stdout io.Writer) error {
	n := 0
	for _, err := range source.Records(ctx) {
		if err != nil {
			return err
		}
		n++
	}
	_, err := fmt.Fprintf(stdout, "records %d\n", n)
	return err
}
