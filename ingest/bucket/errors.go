package bucket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"ephemera/ingest/flow"
)

// errorCode is S3's name for err, or "".
func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// status is the HTTP status that err came with, or 0.
func status(err error) int {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// brief says what err says, without the way it took through the SDK.
func brief(err error) error {
	var api smithy.APIError
	var address *url.Error
	var operation *smithy.OperationError
	switch {
	case errors.As(err, &api):
		if api.ErrorMessage() == "" {
			return errors.New(api.ErrorCode())
		}
		return fmt.Errorf("%s: %s", api.ErrorCode(), strings.TrimSuffix(api.ErrorMessage(), "."))
	case errors.As(err, &address):
		return address.Err
	case errors.Is(err, errStalled):
		return errStalled
	case errors.As(err, &operation):
		return operation.Err
	}
	return err
}

// fault makes err, with which reading an object failed for good, the error
// of that object. The Place is left to ingest.
func fault(bucket string, err error) *flow.ObjectError {
	e := &flow.ObjectError{Fault: flow.Unreachable, Err: brief(err)}
	var state *types.InvalidObjectState
	code := errorCode(err)
	switch {
	case errors.As(err, &state):
		e.Fault, e.Err = flow.Archived, archived(string(state.StorageClass), string(state.AccessTier))
	case code == "NoSuchBucket":
		e.Fault, e.Err = flow.Gone, fmt.Errorf("there is no bucket %s any more", bucket)
	case code == "NoSuchKey" || status(err) == http.StatusNotFound:
		e.Fault, e.Err = flow.Gone, errors.New("it was listed, and is no longer there; a lifecycle rule may have removed it")
	case code == "PreconditionFailed" || code == "InvalidRange" || status(err) == http.StatusPreconditionFailed:
		e.Fault, e.Err = flow.Damaged, errChanged
	case strings.HasPrefix(code, "KMS."):
		e.Fault, e.Err = flow.Denied, fmt.Errorf("its KMS key cannot be used (%w); enable the key, or leave the object out", e.Err)
	case refused(err) != nil:
		e.Fault, e.Err = flow.Denied, refused(err)
	case isDenied(err) && strings.Contains(strings.ToLower(err.Error()), "kms"):
		e.Fault, e.Err = flow.Denied, fmt.Errorf("access to its KMS key is denied (%w); allow kms:Decrypt on the key, see docs/iam.md", e.Err)
	case isDenied(err):
		e.Fault, e.Err = flow.Denied, fmt.Errorf("access denied (%w); allow s3:GetObject on arn:aws:s3:::%s/*, see docs/iam.md", e.Err, bucket)
	}
	return e
}

var errChanged = errors.New("it was changed after it was listed, so what was read may not fit together; run again")

// archived is the error of an object that has to be restored first.
func archived(class, tier string) error {
	if tier != "" {
		class += ", " + tier
	}
	if class != "" {
		class = " (" + class + ")"
	}
	return fmt.Errorf("it is archived%s; restore it with aws s3api restore-object, or leave it out with --from and --to", class)
}

// isDenied reports whether S3 refused err's request to these credentials.
func isDenied(err error) bool {
	return status(err) == http.StatusForbidden || status(err) == http.StatusUnauthorized
}

// refused is the error of credentials that S3 does not take, or nil.
func refused(err error) error {
	switch errorCode(err) {
	case "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired":
		return fmt.Errorf("the credentials are refused (%w); renew them, or choose others with --profile", brief(err))
	case "RequestTimeTooSkewed":
		return fmt.Errorf("the request is refused (%w); set the clock of this machine", brief(err))
	}
	return nil
}

// isFinal reports whether it is no use to ask again: the client has done so
// often enough, or the answer is clear.
func isFinal(err error) bool {
	var often *retry.MaxAttemptsError
	if errors.As(err, &often) {
		return true
	}
	var host *net.DNSError
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &host) && host.IsNotFound || errors.As(err, &certificate) {
		return true
	}
	// Before a request is sent, the SDK wraps errors in texts alone.
	for _, step := range []string{"get identity: ", "resolve service endpoint", "sign http request"} {
		if strings.Contains(err.Error(), step) {
			return true
		}
	}
	code := status(err)
	return code >= 400 && code < 500 && code != http.StatusRequestTimeout && code != http.StatusTooManyRequests
}

// listError says what is wrong with a place that cannot be listed.
func listError(at place, err error) error {
	switch code := errorCode(err); {
	case code == "NoSuchBucket":
		return fmt.Errorf("s3://%s: there is no such bucket; check its name", at.bucket)
	case code == "InvalidBucketName":
		return fmt.Errorf("s3://%s: this is no name of a bucket; write s3://BUCKET/PREFIX", at.bucket)
	case refused(err) != nil:
		return fmt.Errorf("%s: %w", at, refused(err))
	case isDenied(err):
		return fmt.Errorf("%s: listing is denied (%w); allow s3:ListBucket on arn:aws:s3:::%s, see docs/iam.md", at, brief(err), at.bucket)
	case isElsewhere(err):
		return fmt.Errorf("%s: the bucket is in another region (%w); give it with --region", at, brief(err))
	}
	return fmt.Errorf("%s: listing failed: %w", at, brief(err))
}

// brokenListing is the step of the stream in place of what could not be
// listed.
func brokenListing(at place, err error) error {
	e := &flow.ObjectError{Place: at.String(), Fault: flow.Unreachable}
	switch {
	case refused(err) != nil:
		e.Fault, e.Err = flow.Denied, refused(err)
	case isDenied(err):
		e.Fault = flow.Denied
		e.Err = fmt.Errorf("listing is denied (%w), so what lies here is missing; allow s3:ListBucket on arn:aws:s3:::%s, see docs/iam.md", brief(err), at.bucket)
	case errorCode(err) == "NoSuchBucket":
		e.Fault = flow.Gone
		e.Err = fmt.Errorf("there is no bucket %s any more", at.bucket)
	default:
		e.Err = fmt.Errorf("listing failed (%w), so what lies here and later in this series is missing; run again", brief(err))
	}
	return e
}

// isElsewhere reports whether err may mean that the bucket is in another
// region than the client.
func isElsewhere(err error) bool {
	switch errorCode(err) {
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "MovedPermanently":
		return true
	}
	return status(err) == http.StatusMovedPermanently
}

// follow looks up where the bucket is, after err, and reports whether to try
// again there.
func (s *Store) follow(ctx context.Context, bucket string, err error) bool {
	if !isElsewhere(err) || s.region(bucket) != "" {
		return false
	}
	region := regionOf(err)
	if region == "" {
		out, err := s.api.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket}, s.call(bucket))
		if err != nil {
			region = regionOf(err)
		} else if out.BucketRegion != nil {
			region = *out.BucketRegion
		}
	}
	if region == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.regions[bucket] = region
	return true
}

// regionOf is the region of the bucket as the answer tells it that err came
// with.
func regionOf(err error) string {
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil || response.Response.Response == nil {
		return ""
	}
	return response.Response.Header.Get("x-amz-bucket-region")
}
