/** The genres of MovieLens: the label in the data and the name of the field. */
export const genres = [
  "Action",
  "Adventure",
  "Animation",
  "Children's",
  "Comedy",
  "Crime",
  "Documentary",
  "Drama",
  "Fantasy",
  "Film-Noir",
  "Horror",
  "Musical",
  "Mystery",
  "Romance",
  "Sci-Fi",
  "Thriller",
  "War",
  "Western",
].map((label) => ({ label, field: label.toLowerCase().replace("'", "").replace("-", "_") }));

/** How long after a request what the user rates still counts as an answer to it: one day, in microseconds. */
export const labelHorizonUs = 86_400_000_000;

/** Neighbors kept of an item. */
export const neighborCount = 150;

/** File of a source. */
export function fileOf(source: string): string {
  return `${source}.csv`;
}
