"""History replayed week by week with only what was known then: when would each regression have been caught?"""
