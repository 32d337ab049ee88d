package ingest

import (
	"path"
	"path/filepath"
	"strings"
	"time"
)

// objectName is what AWS says in the name of a flow log file:
//
//	123456789012_vpcflowlogs_us-east-1_fl-0a1_20261122T1620Z_5d416faf.log.gz
//
// The folders around it come in several layouts (plain, hourly, Hive) and
// say nothing more.
// Source: VPC User Guide, "Publish flow logs to Amazon S3", flow log files.
type objectName struct {
	flowLogID string
	// key is the time in the name: the object holds records that end in
	// the five minutes from it.
	key time.Time
}

// parseName reads the last element of place. It reports false for names of
// any other form.
func parseName(place string) (objectName, bool) {
	parts := strings.Split(path.Base(filepath.ToSlash(place)), "_")
	if len(parts) < 6 || parts[1] != "vpcflowlogs" || !strings.HasPrefix(parts[3], "fl-") {
		return objectName{}, false
	}
	key, err := time.Parse("20060102T1504Z", parts[4])
	if err != nil {
		return objectName{}, false
	}
	return objectName{parts[3], key}, true
}

// flowLogID returns the flow log that the name of place tells, or "".
func flowLogID(place string) string {
	n, _ := parseName(place)
	return n.flowLogID
}

// keyMargin is how far records may lie outside the time of their object's
// name: delivery is best effort, and record times are up to a minute late.
const keyMargin = 30 * time.Minute

const keyPeriod = 5 * time.Minute

// mayHold reports whether the object can hold records inside the window;
// zero times leave it open.
func (n objectName) mayHold(from, to time.Time) bool {
	if !from.IsZero() && n.key.Add(keyPeriod+keyMargin).Before(from) {
		return false
	}
	return to.IsZero() || !n.key.After(to.Add(keyMargin))
}
