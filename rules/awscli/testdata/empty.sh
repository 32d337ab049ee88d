#!/usr/bin/env bash
# Nothing to do.
#
# Read it first. Then run it with the options of the AWS CLI that say where, for instance:
#
#   bash THIS_FILE --region eu-west-1 --profile NAME
#
# Before it changes anything it asks EC2 whether everything is still as it was when this was made,
# and stops if not. EPHEMERA_SKIP_CHECK=1 leaves that out.
# It takes 0 steps, one by one, and stops at the first that fails.
set -euo pipefail

echo 'there are no steps; nothing was changed'
