// Command ephemera-lambda is the Lambda function of Ephemera: it makes digests
// of new flow log objects, and reports on a schedule. It runs as the bootstrap
// of the runtime provided.al2023. docs/lambda.md says how to deploy it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"ephemera/cmd/internal/function"
)

func main() {
	f, err := function.New(context.Background(), os.Getenv, os.Stdout)
	if err != nil {
		// Every invocation answers with the error, so that it is seen where
		// somebody looks.
		fmt.Fprintln(os.Stderr, "ephemera-lambda:", err)
		lambda.Start(func(context.Context, json.RawMessage) (any, error) { return nil, err })
		return
	}
	lambda.Start(f.Handle)
}
