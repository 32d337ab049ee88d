package deployed

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
)

// CallError is a call to EC2 that failed.
type CallError struct {
	Call string // as in DescribeSubnets
	Err  error
}

// Action is the IAM action that the call needs.
func (e *CallError) Action() string { return "ec2:" + e.Call }

func (e *CallError) Unwrap() error { return e.Err }

func (e *CallError) Error() string {
	if !e.Denied() {
		return e.Action() + ": " + e.Err.Error()
	}
	return e.Action() + ": access denied" + whom(e.Err) + "; allow the action (docs/iam.md)"
}

// Denied reports whether the caller lacks the permission.
// Source: EC2 API Reference, "Common client errors".
func (e *CallError) Denied() bool {
	return hasCode(e.Err, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
}

// authorization is how EC2 words who lacks which permission, and why.
var authorization = regexp.MustCompile(`User: (\S+) is not authorized to perform: \S+(?: on resource: \S+)?(?: ([^.]*))?`)

// whom words who was denied, and why, as far as the error says it.
func whom(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	found := authorization.FindStringSubmatch(api.ErrorMessage())
	if found == nil {
		return ""
	}
	if why := strings.TrimSpace(found[2]); why != "" {
		return " for " + found[1] + " (" + why + ")"
	}
	return " for " + found[1]
}

// refused reports whether a call was denied, or is not there in this region
// or at this endpoint: asking again does not help.
func refused(err error) bool {
	var e *CallError
	return errors.As(err, &e) && (e.Denied() || hasCode(e.Err, "InvalidAction", "UnsupportedOperation", "NotImplemented"))
}

// notFound reports whether the prefix list that a call named is not there.
func notFound(err error) bool {
	return hasCode(err, "InvalidPrefixListId.NotFound", "InvalidPrefixListId.Malformed")
}

// hasCode compares without regard to case: EC2 writes ID in some codes, and
// Id in others.
func hasCode(err error, codes ...string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && slices.ContainsFunc(codes, func(c string) bool { return strings.EqualFold(c, api.ErrorCode()) })
}
