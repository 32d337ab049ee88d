package bucket

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ephemera/ingest"
)

// Object asks S3 for one object by its name, without listing anything: as it
// is now, and as that it is read. When it is changed before that, reading it
// gives an error. Errors are *flow.ObjectErrors.
func (s *Store) Object(ctx context.Context, bucket, key string) (ingest.Object, error) {
	at := place{bucket, key}.String()
	out, err := s.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key, RequestPayer: s.payer()}, s.call(bucket))
	if ctx.Err() != nil {
		return ingest.Object{}, ctx.Err()
	}
	if err != nil {
		e := fault(bucket, err)
		e.Place = at
		return ingest.Object{}, e
	}
	e := newEntry(bucket, &types.Object{Key: &key, Size: out.ContentLength, ETag: out.ETag, StorageClass: types.ObjectStorageClass(out.StorageClass)})
	e.exact = true
	if e.class != "" && deref(out.Restore) != "" {
		e.restored = restored // what is still being restored is refused when it is read
	}
	if name, ok := ingest.ParseName(at); ok {
		e.start = name.Time.Unix()
	}
	return (&Objects{store: s}).object(&e, false), nil
}
