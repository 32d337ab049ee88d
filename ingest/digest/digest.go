// Package digest writes digests: what some flow log objects contribute to an
// analysis, in a file of its own.
//
//	flow log objects → one digest each → fewer digests → the report
//
// A digest is Parquet with the columns of a flow log that an analysis reads,
// under AWS's names, so every reader of flow logs in Parquet reads it; package
// ingest does, and takes from it besides what could not be read of the
// objects. So the report over digests is the report over the objects, to the
// byte, however they were grouped, and in whatever order they were made.
//
// # Format
//
// The records lie in row groups of at most 65,536, sorted in each by network
// interface, five-tuple and time, in pages packed with Zstandard. Absent
// fields are null. The column flow_log_id is not AWS's: it holds the flow log
// that delivered the record, which AWS tells in the object's name. The footer
// holds a Summary as JSON under the key MetadataKey.
//
// The same records, in the same order, give the same bytes.
//
// Many digests become few by a Survey, which merges records besides, where no
// report tells the difference. The column merged_records, which is not AWS's
// either, holds how many further ones a record stands for.
package digest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"ephemera/ingest/flow"
)

// Version is that of the format. A reader reads this one and those below it.
// Digests without merged records are written as version 1.
const Version = 2

// The versions of the format: without and with merged records.
const (
	versionPlain  = 1
	versionMerged = 2
)

// MetadataKey is the key in a Parquet file's footer under which a digest has
// its Summary.
const MetadataKey = "ephemera.digest"

// The columns that only digests have: the flow log's ID, and how many further
// records one stands for.
const (
	FlowLogColumn = "flow-log-id"
	MergedColumn  = "merged-records"
)

// Summary is what a digest says of itself, beside its records.
type Summary struct {
	Version int `json:"version"`
	// Sources are the objects that it was made of; of many the first, and
	// MoreSources counts the others.
	Sources     []Source `json:"sources,omitempty"`
	MoreSources int64    `json:"more_sources,omitempty"`

	// Records have traffic; NoData and SkipData are those that say that
	// there was none, and that AWS lost some. Rows are those of the file, which
	// are fewer where records were merged; 0 where none was.
	Rows     int64 `json:"rows,omitempty"`
	Records  int64 `json:"records"`
	NoData   int64 `json:"nodata"`
	SkipData int64 `json:"skipdata"`
	// Start and End are the least start and the greatest end of all records,
	// in Unix seconds; 0 when there are none.
	Start int64 `json:"start,omitempty"`
	End   int64 `json:"end,omitempty"`

	// Bad are the records that could not be read, by place, and Broken the
	// objects that could not be read to their end.
	Bad    []BadRecords `json:"bad,omitempty"`
	Broken []Broken     `json:"broken,omitempty"`
}

// A Source is an object that a digest was made of.
type Source struct {
	Place   string `json:"place"`             // "s3://bucket/key", a path
	Version string `json:"version,omitempty"` // what tells it from another content of that place: its ETag
	Size    int64  `json:"size,omitempty"`    // in bytes, as stored
}

// BadRecords are the records of one place that could not be read.
type BadRecords struct {
	Place string      `json:"place"`
	Count int64       `json:"count"`
	First []BadRecord `json:"first"` // at most maxSamples
}

// maxSamples is how many bad records of a place are kept with their text.
const maxSamples = 5

// A BadRecord is a *flow.RecordError.
type BadRecord struct {
	Line  int    `json:"line,omitempty"`
	Field string `json:"field,omitempty"`
	Error string `json:"error"`
	Text  string `json:"text,omitempty"`
}

// Broken is a *flow.ObjectError.
type Broken struct {
	Place   string     `json:"place"`
	Records int        `json:"records,omitempty"` // that were read before the break
	Fault   flow.Fault `json:"fault"`
	Error   string     `json:"error"`
}

// Parse reads the value of MetadataKey.
func Parse(value string) (*Summary, error) {
	s := new(Summary)
	if err := json.Unmarshal([]byte(value), s); err != nil {
		return nil, fmt.Errorf("the digest's summary cannot be read: %w", err)
	}
	if s.Version < 1 || s.Version > Version {
		return nil, fmt.Errorf("it is a digest of version %d, and this program reads version 1 to %d: update it", s.Version, Version)
	}
	for _, b := range s.Bad {
		if b.Count < int64(len(b.First)) || b.Count > math.MaxInt32 {
			return nil, fmt.Errorf("the digest's summary counts %d bad records in %s, which cannot be", b.Count, b.Place)
		}
	}
	for _, b := range s.Broken {
		if b.Fault > flow.Unreachable {
			return nil, fmt.Errorf("the digest's summary has fault %d of %s, which is none", b.Fault, b.Place)
		}
	}
	return s, nil
}

// note takes what came in the place of a record. Any other error is returned.
func (s *Summary) note(err error) error {
	var bad *flow.RecordError
	var broken *flow.ObjectError
	switch {
	case errors.As(err, &bad):
		s.noteBad(bad)
	case errors.As(err, &broken):
		s.Broken = append(s.Broken, Broken{broken.Place, broken.Records, broken.Fault, broken.Err.Error()})
	default:
		return err
	}
	return nil
}

func (s *Summary) noteBad(e *flow.RecordError) {
	n := len(s.Bad)
	if n == 0 || s.Bad[n-1].Place != e.Place { // records of a place follow each other
		s.Bad = append(s.Bad, BadRecords{Place: e.Place})
		n++
	}
	b := &s.Bad[n-1]
	if b.Count++; len(b.First) < maxSamples {
		b.First = append(b.First, BadRecord{e.Line, e.Field, e.Err.Error(), e.Text})
	}
}

// Errors gives what could not be read as the stream of the objects gave it:
// one *flow.RecordError for every bad record, and one *flow.ObjectError for
// every broken object. It calls yield until that returns false.
func (s *Summary) Errors(yield func(error) bool) {
	for i := range s.Bad {
		b := &s.Bad[i]
		for n := range b.Count {
			if !yield(b.at(n)) {
				return
			}
		}
	}
	for _, b := range s.Broken {
		if !yield(&flow.ObjectError{Place: b.Place, Records: b.Records, Fault: b.Fault, Err: errors.New(b.Error)}) {
			return
		}
	}
}

func (b *BadRecords) at(n int64) error {
	if n >= int64(len(b.First)) {
		return &flow.RecordError{Place: b.Place, Err: fmt.Errorf("one of %d bad records, of which the digest names the first %d", b.Count, len(b.First))}
	}
	f := &b.First[n]
	return &flow.RecordError{Place: b.Place, Line: f.Line, Field: f.Field, Err: errors.New(f.Error), Text: f.Text}
}
