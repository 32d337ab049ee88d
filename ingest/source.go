// Package ingest turns flow logs, wherever they lie, into one stream of flow
// log records.
//
//	places → objects, in time order → text, JSON, Parquet → flow.Record
//
// An object is one file, standard input, an object in S3 (package bucket), or
// some minutes of a log group in CloudWatch Logs (package loggroup). A
// decoder reads one object and translates it record by record; it drops
// nothing but records outside the time window, and guesses nothing: where
// text has no header line, its Format has to be given. Objects are read ahead
// and decoded in parallel, and follow each other in an order that does not
// depend on the number of workers.
//
//	logs, err := ingest.Open([]string{"AWSLogs/"}, ingest.Options{})
//	if err != nil {
//		return err
//	}
//	for r, err := range logs.Records(ctx) {
//		...
//	}
//
// # The stream
//
// A step of the stream is a record, or nil and an error. A
// *flow.RecordError is a record that could not be read, a *flow.ObjectError
// an object that could not be read to its end: both are to be counted and
// shown, and the stream goes on behind them. Any other error is the last
// step. Records of log status NODATA and SKIPDATA are yielded like others,
// with most of their fields absent: they tell the coverage.
//
// # Limits
//
// Transit gateway flow logs have no action and are refused.
package ingest

import (
	"context"
	"io"
	"iter"
	"time"

	"ephemera/ingest/flow"
)

// Source yields flow log records in time order, as far as its objects have
// one: see Logs.Records. The record is the source's and lasts until the
// next step; copy what you keep.
type Source interface {
	Records(ctx context.Context) iter.Seq2[*flow.Record, error]
}

// Options say what to read. The zero Options read every known field of every
// record, at GOMAXPROCS objects at once.
type Options struct {
	// Format is that of text without a header line; where there is a header
	// line it is not looked at. With the zero Format, text without a header
	// line is a *flow.ObjectError.
	Format Format

	// Jobs is how many objects are decoded at once; 0 means GOMAXPROCS.
	Jobs int

	// ReadAhead is how many objects are open at once, so that waiting for
	// one does not stop the others; 0 means 16. At 1 or 2 there are still
	// two: the one that is read, and the next.
	ReadAhead int

	// From and To keep records that end at or after From and start before
	// To; zero means open. Records without times are kept.
	From, To time.Time

	// Want is the set of fields to decode; 0 means all. Fields outside it
	// are skipped without being looked at, so a wrong value there is not
	// an error. Start, end and log-status are always decoded.
	Want flow.FieldSet

	// KeepUnknown keeps the values of fields that package flow does not
	// know in Record.Extra, by the name in the header line.
	KeepUnknown bool

	// Stdin is what the place "-" reads.
	Stdin io.Reader
}

// wanted returns the fields to decode: those asked for, and those that the
// decoder itself needs for the time window, the order and the status.
func (o *Options) wanted() flow.FieldSet {
	if o.Want == 0 {
		return flow.AllFields
	}
	return o.Want | flow.Fields(flow.FieldStart, flow.FieldEnd, flow.FieldLogStatus)
}

// Stats counts what was read.
type Stats struct {
	Objects int   // opened, readable or not
	Bytes   int64 // as stored, so compressed where the object is
	Records int64 // and errors

	// TotalObjects and TotalBytes estimate what there is to read in all,
	// from the part that is listed; 0 when there is no telling.
	TotalObjects int
	TotalBytes   int64
}
