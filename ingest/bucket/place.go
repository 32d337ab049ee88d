package bucket

import (
	"fmt"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ephemera/ingest"
)

// Scheme begins every place in S3.
const Scheme = "s3://"

// place is a bucket and the beginning of keys in it.
type place struct{ bucket, prefix string }

func (p place) String() string { return Scheme + p.bucket + "/" + p.prefix }

// in is the place of another prefix of the same bucket.
func (p place) in(prefix string) place { return place{p.bucket, prefix} }

func parsePlace(s string) (place, error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	bucket, prefix, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return place{}, fmt.Errorf("%s: this is no place in S3; write s3://BUCKET/PREFIX", s)
	}
	if strings.ContainsFunc(bucket, notInBucketName) {
		return place{}, fmt.Errorf("%s: %q is no name of a bucket; write s3://BUCKET/PREFIX, for an access point with its alias", s, bucket)
	}
	return place{bucket, prefix}, nil
}

func notInBucketName(r rune) bool {
	alphanumeric := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !alphanumeric && !strings.ContainsRune(".-_", r)
}

// entry is an object as it was listed.
type entry struct {
	bucket string
	place  string // s3://bucket/key
	size   int64
	etag   string
	exact  bool  // only what has this ETag is read
	start  int64 // Object.Start
	named  bool  // start is from its name

	class    types.ObjectStorageClass // where it has to be restored from
	restored restoration
}

// restoration is how far an archived object has been restored.
type restoration uint8

const (
	notAsked restoration = iota
	underWay
	restored
)

func newEntry(bucket string, o *types.Object) entry {
	e := entry{bucket: bucket, place: place{bucket, deref(o.Key)}.String(), size: deref(o.Size), etag: deref(o.ETag), start: ingest.UnknownStart}
	if o.StorageClass == types.ObjectStorageClassGlacier || o.StorageClass == types.ObjectStorageClassDeepArchive {
		e.class = o.StorageClass
	}
	if r := o.RestoreStatus; r != nil && deref(r.IsRestoreInProgress) {
		e.restored = underWay
	} else if r != nil && r.RestoreExpiryDate != nil {
		e.restored = restored
	}
	return e
}

func (e *entry) key() string { return e.place[len(Scheme)+len(e.bucket)+1:] }

// isNoLog reports whether the key is one that AWS services write beside
// logs, and that holds none: what stands for a folder, the test of delivery,
// what Athena and Hadoop leave behind.
func (e *entry) isNoLog() bool {
	name := path.Base(e.key())
	return e.size == 0 && strings.HasSuffix(e.key(), "/") ||
		name == "aws-logs-write-test" || name == "_SUCCESS" ||
		strings.HasSuffix(name, "_$folder$") || strings.HasSuffix(name, ".metadata")
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
