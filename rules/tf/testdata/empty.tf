# Nothing to do.
#
# The entries and rules below are all that these network ACLs and security groups are to have,
# changed or not. Resources that another configuration manages belong there: move them, or Terraform
# and it undo each other's work.
# Terraform makes its changes in no certain order. The AWS CLI script makes them one by one, in an
# order in which what was allowed before and after is allowed in between.
