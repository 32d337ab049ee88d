// Package function is the Lambda function of Ephemera: the whole program behind
// cmd/ephemera-lambda.
//
//	new objects  → one digest each
//	the schedule → the report over the digests, and alerts
//
// An invocation can come twice, late, at the same time as another one, and can
// be cut off anywhere. So a digest is written under a name made of its object's
// (package digests), a report under a lease (report.go), and an alert behind a
// mark (package alert): each can be done again without harm.
package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/logging"

	"ephemera/analyze"
	"ephemera/cmd/internal/alert"
	"ephemera/cmd/internal/digests"
	"ephemera/cmd/internal/event"
	"ephemera/cmd/internal/session"
	"ephemera/cmd/internal/store"
	"ephemera/ingest"
	"ephemera/ingest/bucket"
)

// A Function handles invocations, one at a time.
type Function struct {
	set     Settings
	s3      *s3.Client
	sqs     *sqs.Client
	objects *bucket.Store
	digests store.Store
	reports store.Store  // nil without reports
	sender  alert.Sender // nil without alerts
	maker   digests.Maker
	log     *slog.Logger
	metrics io.Writer
	now     func() time.Time
}

// New makes the function of an environment. Its log goes to w, in JSON, with
// the metrics among it.
func New(ctx context.Context, getenv func(string) string, w io.Writer) (*Function, error) {
	set, err := ParseSettings(getenv)
	if err != nil {
		return nil, fmt.Errorf("the function's environment variables are wrong; see docs/lambda.md: %w", err)
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(session.HTTPClient()), config.WithRetryer(session.Retryer), config.WithLogger(logging.Nop{}))
	if err != nil {
		return nil, fmt.Errorf("the AWS configuration cannot be loaded: %w", err)
	}
	debug.SetMemoryLimit(set.Memory * 4 / 5)
	f := &Function{
		set: set, log: slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: set.LogLevel})), metrics: w, now: time.Now,
		s3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }),
	}
	f.objects = bucket.New(f.s3, bucket.Options{ReadAhead: min(32<<20, set.Memory/16), PathStyle: f.s3.Options().BaseEndpoint != nil})
	if f.digests, err = bucketAt(f.s3, set.Digests); err != nil {
		return nil, err
	}
	if f.reports, err = bucketAt(f.s3, set.Reports); err != nil {
		return nil, err
	}
	if set.Alerts != "" {
		if f.sender, err = alert.NewSender(cfg, set.Alerts); err != nil {
			return nil, fmt.Errorf("%s: %w", envAlerts, err)
		}
	}
	if set.DeadLetters != "" {
		f.sqs = sqs.NewFromConfig(cfg)
	}
	f.maker = digests.Maker{Store: f.digests, Options: ingest.Options{Want: analyze.WantFields, Format: set.Format}, Version: f.version}
	return f, nil
}

// bucketAt is the store at a place in S3; nil at none.
func bucketAt(client *s3.Client, place string) (store.Store, error) {
	if place == "" {
		return nil, nil
	}
	return store.NewBucket(client, place)
}

// margin is how long before its deadline an invocation stops, to say what it
// did not do.
const margin = 5 * time.Second

// Handle handles one invocation. What it returns is the invocation's answer:
// for messages of a queue those that failed, for a report where it is.
func (f *Function) Handle(ctx context.Context, payload json.RawMessage) (any, error) {
	e, err := event.Parse(payload)
	if err != nil {
		f.log.Error("the event cannot be read", "error", err.Error())
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(margin, left/4)))
		defer cancel()
	}
	for _, i := range e.Ignored {
		f.log.Info("ignored", "what", i.What, "why", i.Why, "message", i.Message)
	}
	if e.Kind == event.KindSchedule {
		return f.report(ctx, e.Report)
	}
	return f.digest(ctx, e, payload)
}

// Why something was not done before the deadline.
var (
	errDeadline   = errors.New("not begun: the function's time-out is near; it is tried again")
	errUnfinished = errors.New("broken off: the function's time-out is near; it is tried again, and when that does not help, needs more time or memory")
)

// version asks for the ETag that an object has by now.
func (f *Function) version(ctx context.Context, o ingest.Object) (string, error) {
	if !store.InBucket(o.Place) {
		return o.Version, nil // a batch of a subscription has one version
	}
	name, key, err := store.Split(o.Place)
	if err != nil {
		return "", err
	}
	last, err := f.objects.Object(ctx, name, key)
	return last.Version, err
}
