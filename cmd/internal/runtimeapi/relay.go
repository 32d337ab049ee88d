package runtimeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Relay takes what versitygw posts to its webhook and hands it on as a
// notice. The two differ: names of events begin with s3:, the ARN of a bucket
// ends in the key, an ETag has its quotes, a key is not encoded, the size is
// 0 unless an object came in one piece, and sequencers are short.
type Relay struct {
	// Folder holds the buckets, and tells the size of an object.
	Folder string
	// Notify is called for each notice, by several goroutines at a time.
	Notify func(Notice)

	mu   sync.Mutex
	errs []error
}

// Err says what was posted that the Relay does not understand.
func (r *Relay) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.errs...)
}

// ServeHTTP takes one message.
func (r *Relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	notices, err := r.read(http.MaxBytesReader(w, request.Body, 1<<20))
	if err != nil {
		r.mu.Lock()
		r.errs = append(r.errs, fmt.Errorf("webhook: %w", err))
		r.mu.Unlock()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, n := range notices {
		r.Notify(n)
	}
}

// posted is what versitygw says.
type posted struct {
	Event   string // of the test at its start
	Records []struct {
		AWSRegion string
		EventTime time.Time
		EventName string
		S3        struct {
			Bucket struct{ Name string }
			Object struct {
				Key, ETag, VersionID, Sequencer string
				Size                            int64
			}
		}
	}
}

func (r *Relay) read(body io.Reader) ([]Notice, error) {
	var p posted
	if err := json.NewDecoder(body).Decode(&p); err != nil {
		return nil, err
	}
	var notices []Notice
	for _, rec := range p.Records {
		event, ok := strings.CutPrefix(rec.EventName, "s3:")
		sequence, err := strconv.ParseUint(rec.S3.Object.Sequencer, 16, 64)
		if !ok || err != nil || rec.S3.Bucket.Name == "" || rec.S3.Object.Key == "" {
			return nil, fmt.Errorf("%+v: not what versitygw says", rec)
		}
		n := Notice{
			Event: event, Time: rec.EventTime, Region: rec.AWSRegion, Bucket: rec.S3.Bucket.Name,
			Key: rec.S3.Object.Key, ETag: strings.Trim(rec.S3.Object.ETag, `"`), Size: rec.S3.Object.Size,
			VersionID: rec.S3.Object.VersionID, Sequencer: fmt.Sprintf("%018X", sequence),
		}
		if n.created() && n.Size == 0 {
			n.Size = r.size(n)
		}
		notices = append(notices, n)
	}
	if notices == nil && p.Event != "s3:TestEvent" {
		return nil, errors.New("neither records nor a test")
	}
	return notices, nil
}

// size is an object's, or 0 if it is not there any more.
func (r *Relay) size(n Notice) int64 {
	info, err := os.Stat(filepath.Join(r.Folder, n.Bucket, filepath.FromSlash(n.Key)))
	if err != nil {
		return 0
	}
	return info.Size()
}
