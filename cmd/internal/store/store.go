// Package store keeps objects by name in a directory or below a prefix of a
// bucket, each written whole or not at all, and only under a condition where
// one is given.
package store

import (
	"context"
	"errors"
	"io"
	"strings"

	"ephemera/ingest/bucket"
)

// A Store keeps objects by name. Names have slashes and no "." or ".." between
// them. It can be used by several goroutines, and a bucket by several programs.
type Store interface {
	// Put writes an object. The reader is read from its beginning, again if
	// need be. With a condition that does not hold (Is does not, where there is
	// no object) it writes nothing and returns ErrCondition.
	Put(ctx context.Context, name string, content io.ReadSeeker, c Condition) (Version, error)
	// Get returns an object's content, which is small; ErrNone when there is
	// no such object.
	Get(ctx context.Context, name string) ([]byte, Version, error)
	// List returns the names that begin with a prefix, in order.
	List(ctx context.Context, prefix string) ([]string, error)
	// Delete deletes an object; that there is none is no error.
	Delete(ctx context.Context, name string) error
	// Place names an object for people: "s3://bucket/key", a path.
	Place(name string) string
}

// A Version tells the content of an object from what was written before: its
// ETag.
type Version string

// A Condition is what Put depends on. The zero Condition always holds.
type Condition struct {
	Absent bool    // there is no such object
	Is     Version // if not empty, the object has it
}

// Errors of a Store.
var (
	ErrCondition = errors.New("somebody else has written it")
	ErrNone      = errors.New("there is no such object")
)

// ContentType is that of an object, by its name.
func ContentType(name string) string {
	switch {
	case strings.HasSuffix(name, ".html"):
		return "text/html; charset=utf-8"
	case strings.HasSuffix(name, ".json"):
		return "application/json"
	case strings.HasSuffix(name, ".csv"):
		return "text/csv; charset=utf-8"
	case strings.HasSuffix(name, ".parquet"):
		return "application/vnd.apache.parquet"
	}
	return "application/octet-stream"
}

// InBucket reports whether a place is in S3.
func InBucket(place string) bool { return strings.HasPrefix(place, bucket.Scheme) }
