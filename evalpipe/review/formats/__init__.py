"""The files of other annotation tools, one module a tool: how its records say what evalpipe's annotations say."""
