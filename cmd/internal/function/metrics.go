package function

import (
	"encoding/json"
	"io"
	"time"
)

// A metric is a number of one invocation.
type metric struct {
	name, unit string
	value      float64
}

// namespace is that of the metrics in CloudWatch.
const namespace = "Ephemera"

// writeMetrics writes a line from which CloudWatch makes metrics.
//
// Source: CloudWatch User Guide, "Embedded metric format specification".
func writeMetrics(w io.Writer, now time.Time, function string, metrics []metric) error {
	type definition struct{ Name, Unit string }
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []definition
	}
	d := directive{Namespace: namespace, Dimensions: [][]string{{"FunctionName"}}}
	line := map[string]any{"FunctionName": function}
	for _, m := range metrics {
		d.Metrics = append(d.Metrics, definition{m.name, m.unit})
		line[m.name] = m.value
	}
	line["_aws"] = map[string]any{"Timestamp": now.UnixMilli(), "CloudWatchMetrics": []directive{d}}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
