"""Documents of people and of other control planes, read into changesets and topologies.

The rule: only the edges of Southbound read documents. Everything wrong with an input is gathered and
named with its file, its document and its place before anything is acted on, and what cannot be used
is listed, never dropped in silence. pydantic and YAML stay in this package, so an agent never loads
them. docs/documents.md describes the formats.
"""
